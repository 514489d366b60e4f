//! Mesos taskgroups (protocol.md 8, column "Mesos").

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::envelope::{Document, Metadata};
use super::json::{self, FreeList, ObjectWriter};
use super::read::{Objects, place_for_object};
use super::time;
use crate::model::{Field, PodRecord};

/// What a record needs of a document, as `field` of a list call wants it.
pub(super) const PROJECTION: &str = "_isBcsObjectDeleted,namespace,resourceName,resourceType,\
    data.metadata.name,data.metadata.namespace,data.metadata.creationTimestamp,\
    data.metadata.labels,data.metadata.annotations,\
    data.rcname,data.status,data.hostIP,data.podIP,data.startTime,\
    data.containerStatuses.name,data.containerStatuses.containerID,\
    data.containerStatuses.status,data.containerStatuses.lastStatus,\
    data.containerStatuses.image,data.containerStatuses.networkMode,\
    data.containerStatuses.containerPort";

/// BcsPodStatus.
#[derive(Default)]
pub(super) struct Taskgroup<'de> {
    metadata: Metadata<'de>,
    application: Cow<'de, str>,
    status: Cow<'de, str>,
    host_ip: Cow<'de, str>,
    pod_ip: Cow<'de, str>,
    start_time: Cow<'de, str>,
    containers: Objects<Container<'de>>,
}

place_for_object! {
    [] Taskgroup<'de> {
        "metadata" => metadata,
        "rcname" => application,
        "status" => status,
        "hostIP" => host_ip,
        "podIP" => pod_ip,
        "startTime" => start_time,
        "containerStatuses" => containers,
    }
}

#[derive(Default)]
struct Container<'de> {
    name: Option<Cow<'de, str>>,
    container_id: Option<Cow<'de, str>>,
    status: Option<Cow<'de, str>>,
    last_status: Option<Cow<'de, str>>,
    image: Option<Cow<'de, str>>,
    network_mode: Option<Cow<'de, str>>,
    ports: FreeList<'de>,
}

place_for_object! {
    [] Container<'de> {
        "name" => name,
        "containerID" => container_id,
        "status" => status,
        "lastStatus" => last_status,
        "image" => image,
        "networkMode" => network_mode,
        "containerPort" => ports,
    }
}

impl<'de> Document<'de> for Taskgroup<'de> {
    fn metadata(&self) -> &Metadata<'de> {
        &self.metadata
    }

    fn fill(&self, record: &mut PodRecord, time_zone: &TimeZone) {
        let (kind, name) = match self.application.trim() {
            "" => ("Pod", record.name.clone()),
            application => ("Application", application.to_owned()),
        };
        record.set_text(Field::WorkloadType, kind);
        record.set_text(Field::WorkloadName, name);
        record.set_text(Field::HostInnerIp, self.host_ip.as_ref());
        record.set_text(Field::PodIp, self.pod_ip.as_ref());
        record.write_text(Field::Labels, |out| json::texts(out, &self.metadata.labels));
        record.write_text(Field::Annotations, |out| json::texts(out, &self.metadata.annotations));
        record.set_text(Field::NetworkMode, self.network_mode());
        record.set_text(Field::NetworkType, self.network_type());
        record.write_text(Field::Containers, |out| self.containers(out));
        record.set_text(Field::Status, self.status.as_ref());
        record.set_text(Field::CreateTime, time::local(&self.metadata.created, time_zone));
        record.set_text(Field::StartTime, time::local(&self.start_time, time_zone));
    }
}

impl Taskgroup<'_> {
    fn network_mode(&self) -> &str {
        self.containers.0.first().and_then(|container| container.network_mode.as_deref()).unwrap_or("").trim()
    }

    fn network_type(&self) -> &'static str {
        let mode = self.network_mode();
        let docker = ["bridge", "host"].iter().any(|name| mode.eq_ignore_ascii_case(name));
        if docker { "cnm" } else { "cni" }
    }

    fn containers(&self, out: &mut String) {
        json::write_list(out, &self.containers.0, |out, container| {
            let mut object = ObjectWriter::begin(out);
            object.text("name", container.name.as_deref());
            object.text("containerID", container.container_id.as_deref());
            object.text("status", container.status.as_deref());
            object.text("lastStatus", container.last_status.as_deref());
            object.text("image", container.image.as_deref());
            object.tree("containerPort", &container.ports.0);
            object.end();
        });
    }
}

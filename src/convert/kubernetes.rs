//! Kubernetes Pods (protocol.md 8, column "Kubernetes").

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde::de::{IgnoredAny, MapAccess};

use super::envelope::{Document, Metadata};
use super::json::{self, FreeList, FreeObject, ObjectWriter};
use super::read::{Fill, Objects, Place, place_for_object};
use super::time;
use crate::model::{Field, PodRecord};

/// What a record needs of a document, as `field` of a list call wants it.
pub(super) const PROJECTION: &str = "_isBcsObjectDeleted,namespace,resourceName,resourceType,\
    data.metadata.name,data.metadata.namespace,data.metadata.uid,data.metadata.resourceVersion,\
    data.metadata.creationTimestamp,data.metadata.deletionTimestamp,\
    data.metadata.labels,data.metadata.annotations,data.metadata.ownerReferences,\
    data.spec.hostNetwork,data.spec.volumes,\
    data.spec.containers.name,data.spec.containers.image,\
    data.spec.containers.ports,data.spec.containers.resources,\
    data.status.phase,data.status.hostIP,data.status.podIP,data.status.startTime,\
    data.status.containerStatuses.name,data.status.containerStatuses.ready,\
    data.status.containerStatuses.restartCount,data.status.containerStatuses.containerID,\
    data.status.containerStatuses.state";

/// A core/v1 Pod.
#[derive(Default)]
pub(super) struct Pod<'de> {
    metadata: Metadata<'de>,
    spec: Spec<'de>,
    status: Status<'de>,
}

place_for_object! {
    [] Pod<'de> { "metadata" => metadata, "spec" => spec, "status" => status }
}

#[derive(Default)]
struct Spec<'de> {
    host_network: Option<bool>,
    containers: Objects<Container<'de>>,
    volumes: Objects<Volume<'de>>,
}

place_for_object! {
    [] Spec<'de> { "hostNetwork" => host_network, "containers" => containers, "volumes" => volumes }
}

#[derive(Default)]
struct Container<'de> {
    name: Option<Cow<'de, str>>,
    image: Option<Cow<'de, str>>,
    ports: FreeList<'de>,
    resources: FreeObject<'de>,
}

place_for_object! {
    [] Container<'de> { "name" => name, "image" => image, "ports" => ports, "resources" => resources }
}

#[derive(Default)]
struct Status<'de> {
    phase: Cow<'de, str>,
    host_ip: Cow<'de, str>,
    pod_ip: Cow<'de, str>,
    start_time: Cow<'de, str>,
    containers: Objects<ContainerStatus<'de>>,
}

place_for_object! {
    [] Status<'de> {
        "phase" => phase,
        "hostIP" => host_ip,
        "podIP" => pod_ip,
        "startTime" => start_time,
        "containerStatuses" => containers,
    }
}

#[derive(Default)]
struct ContainerStatus<'de> {
    name: Option<Cow<'de, str>>,
    ready: Option<bool>,
    restart_count: Option<i64>,
    container_id: Option<Cow<'de, str>>,
    state: FreeObject<'de>,
}

place_for_object! {
    [] ContainerStatus<'de> {
        "name" => name,
        "ready" => ready,
        "restartCount" => restart_count,
        "containerID" => container_id,
        "state" => state,
    }
}

/// A volume: its name and the one member that says of what type it is.
#[derive(Default)]
struct Volume<'de> {
    name: Cow<'de, str>,
    kind: Cow<'de, str>,
    source: Source<'de>,
}

impl<'de> Place<'de> for Volume<'de> {
    /// The type is the member that holds an object: some writers put the other types beside it as
    /// nulls. Should there be several, the first by name counts, whatever their order.
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        let mut name = Cow::Borrowed("");
        while object.next_key_seed(Fill(&mut name))?.is_some() {
            if name == "name" {
                object.next_value_seed(Fill(&mut self.name))?;
                continue;
            }
            let mut source = Source::default();
            object.next_value_seed(Fill(&mut source))?;
            if source.is_object && (self.kind.is_empty() || name <= self.kind) {
                self.kind = std::mem::take(&mut name);
                self.source = source;
            }
        }
        Ok(())
    }
}

/// What a volume is made from, by name only.
#[derive(Default)]
struct Source<'de> {
    is_object: bool,
    claim_name: Cow<'de, str>,
    secret_name: Cow<'de, str>,
    name: Cow<'de, str>,
    path: Cow<'de, str>,
}

impl<'de> Place<'de> for Source<'de> {
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        self.is_object = true;
        let mut name = Cow::Borrowed("");
        while object.next_key_seed(Fill(&mut name))?.is_some() {
            match name.as_ref() {
                "claimName" => object.next_value_seed(Fill(&mut self.claim_name))?,
                "secretName" => object.next_value_seed(Fill(&mut self.secret_name))?,
                "name" => object.next_value_seed(Fill(&mut self.name))?,
                "path" => object.next_value_seed(Fill(&mut self.path))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl Volume<'_> {
    /// The name of the claim, config map, secret or path; empty for every other type.
    fn source(&self) -> &str {
        match self.kind.as_ref() {
            "persistentVolumeClaim" => &self.source.claim_name,
            "configMap" => &self.source.name,
            "secret" => &self.source.secret_name,
            "hostPath" | "nfs" => &self.source.path,
            _ => "",
        }
    }
}

impl<'de> Document<'de> for Pod<'de> {
    fn metadata(&self) -> &Metadata<'de> {
        &self.metadata
    }

    fn fill(&self, record: &mut PodRecord, time_zone: &TimeZone) {
        let Self { metadata, spec, status } = self;
        let (kind, name) = self.workload().unwrap_or(("Pod", record.name.as_str()));
        let (kind, name) = (kind.to_owned(), name.to_owned());
        record.set_text(Field::WorkloadType, kind);
        record.set_text(Field::WorkloadName, name);
        record.set_text(Field::HostInnerIp, status.host_ip.as_ref());
        record.set_text(Field::PodIp, status.pod_ip.as_ref());
        record.write_text(Field::Labels, |out| json::texts(out, &metadata.labels));
        record.write_text(Field::Annotations, |out| json::texts(out, &metadata.annotations));
        let host_network = spec.host_network == Some(true);
        record.set_text(Field::NetworkMode, if host_network { "host" } else { "cni" });
        record.set_text(Field::NetworkType, "cni");
        record.write_text(Field::Containers, |out| self.containers(out));
        record.write_text(Field::Volumes, |out| self.volumes(out));
        let terminating = !metadata.deletion.trim().is_empty();
        record.set_text(Field::Status, if terminating { "Terminating" } else { status.phase.as_ref() });
        record.set_text(Field::CreateTime, time::local(&metadata.created, time_zone));
        record.set_text(Field::StartTime, time::local(&status.start_time, time_zone));
    }
}

impl Pod<'_> {
    /// Kind and name of the owner that controls the pod, else of the first one. An owner without
    /// kind or name is none: the CMDB requires both.
    fn workload(&self) -> Option<(&str, &str)> {
        let owners = &self.metadata.owners.0;
        let owner = owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first())?;
        let (kind, name) = (owner.kind.trim(), owner.name.trim());
        (!kind.is_empty() && !name.is_empty()).then_some((kind, name))
    }

    fn containers(&self, out: &mut String) {
        let mut both = ObjectWriter::begin(out);
        json::write_list(both.member("containers"), &self.spec.containers.0, |out, container| {
            let mut object = ObjectWriter::begin(out);
            object.text("name", container.name.as_deref());
            object.text("image", container.image.as_deref());
            object.tree("ports", &container.ports.0);
            object.tree("resources", &container.resources.0);
            object.end();
        });
        json::write_list(both.member("containerStatuses"), &self.status.containers.0, |out, status| {
            let mut object = ObjectWriter::begin(out);
            object.text("name", status.name.as_deref());
            object.flag("ready", status.ready);
            object.integer("restartCount", status.restart_count);
            object.text("containerID", status.container_id.as_deref());
            object.tree("state", &status.state.0);
            object.end();
        });
        both.end();
    }

    fn volumes(&self, out: &mut String) {
        json::write_list(out, &self.spec.volumes.0, |out, volume| {
            let mut object = ObjectWriter::begin(out);
            object.text("name", Some(&volume.name));
            object.text("type", Some(&volume.kind));
            object.text("source", Some(volume.source()));
            object.end();
        });
    }
}

//! The status page in a real browser: what an operator sees and does there, in front of the service
//! at work among its peers, and in front of a thousand clusters.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod browser;
mod fake;
mod world;

use bcs_bkcmdb_synchronizer::config::{Config, Secret, Sources};
use bcs_bkcmdb_synchronizer::front::Hosts;
use bcs_bkcmdb_synchronizer::observe::StatusServer;
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control, ProblemStatus};
use browser::Browser;
use fake::{Fake, NASTY};
use serde_json::json;
use std::sync::Arc;
use world::{CLUSTER, ClusterSetup, PATIENCE, World, pods};

const FIRST: &str = "#rows tr:first-child th";

fn address(world: &World) -> String {
    format!("http://{}/", world.service.as_ref().unwrap().status_addr())
}

/// Three clusters; in the first one Pods, of which the CMDB refuses one.
fn three_clusters() -> World {
    let setup = |id: &str| ClusterSetup::new(id, Generation::New);
    let mut world = World::new(vec![setup(CLUSTER), setup("BCS-K8S-00002"), setup("BCS-K8S-00003")]);
    // Three deletes that no event told are held back.
    world = world.with(json!({"delete_guard_min": 2}));
    for number in 1..6 {
        world.put(pods::pod(&format!("web-{number}"), number));
    }
    let owner = json!([{"kind": "Job", "name": "x".repeat(300), "controller": true}]);
    world.put(pods::with(pods::pod("refused", 9), "/metadata/ownerReferences", owner));
    world.start_and_follow();
    world.wait("one is rejected", |world| world.status(CLUSTER).pods.rejected == 1);
    world
}

fn open(language: &str, address: &str) -> Browser {
    let browser = Browser::start(language);
    browser.screen(1280, 900, "light");
    browser.open(address);
    browser.wait("the table is filled", "document.querySelector('#rows tr')");
    browser
}

/// The page as people with other screens see it.
fn pictures(browser: &Browser, name: &str) {
    let screens =
        [("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light"), ("narrow", 320, "dark")];
    for (kind, width, scheme) in screens {
        browser.screen(width, 900, scheme);
        browser.picture(&format!("{name}-{kind}"));
        let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.run(overflow), 0, "{name}-{kind} is wider than its screen");
    }
    browser.screen(1280, 900, "light");
}

#[track_caller]
fn quiet(browser: &Browser) {
    assert_eq!(browser.console(), Vec::<String>::new(), "the console should have nothing to say");
}

#[test]
fn an_operator_sorts_filters_opens_a_cluster_and_steers_it() {
    let world = three_clusters();
    let browser = open("en", &address(&world));
    browser.wait("the refused pod is a problem", "document.querySelector('[data-kind=rejected]')");
    pictures(&browser, "overview");

    // Sorted by mouse and by keyboard; the direction is there for screen readers too.
    browser.click("th[data-key=cluster] button");
    assert_eq!(browser.text(FIRST), CLUSTER);
    browser.press(&[browser::ENTER]);
    browser.wait(
        "the other direction",
        "document.querySelector('th[data-key=cluster]').ariaSort === 'descending'",
    );
    assert_eq!(browser.text(FIRST), "BCS-K8S-00003");
    assert!(browser.text("#said").contains("descending"));

    browser.fill("#search", "00002");
    assert_eq!((browser.count("#rows tr"), browser.text("#shown").as_str()), (1, "1 of 3"));
    browser.fill("#search", "no such cluster");
    assert_eq!(browser.text("#no-rows"), "No cluster matches.");
    browser.fill("#search", "");
    browser.click("#only");
    assert_eq!((browser.count("#rows tr"), browser.text(FIRST).as_str()), (1, CLUSTER));

    browser.click("#rows a");
    browser.wait("the cluster's page", "document.querySelector('#rejected td')");
    assert_eq!(browser.run("return document.activeElement.id"), "cluster-title");
    assert!(browser.text("#rejected").contains("default/refused"));
    assert!(browser.text("#rejected").contains("bk_pod_workloadname"));

    // What happens meanwhile appears by itself.
    world.put(pods::pod("arrived-later", 20));
    browser.wait("the new pod", "document.querySelector('#changes').innerText.includes('arrived-later')");
    browser.wait("the chart has its write", "document.querySelector('#chart rect.create')");
    browser.wait("the chart has its lag", "document.querySelector('#chart .dot')");
    pictures(&browser, "cluster");

    browser.click("[data-control=pause]");
    browser.click("#dialog-no");
    assert_ne!(world.status(CLUSTER).state, ClusterState::Paused, "cancelled");
    browser.click("[data-control=pause]");
    browser.click("#dialog-yes");
    world.wait("it is paused", |world| world.status(CLUSTER).state == ClusterState::Paused);
    browser.wait("it can be resumed", "document.querySelector('[data-control=resume]')");
    browser.click("[data-control=resume]");
    world.wait("it goes on", |world| world.status(CLUSTER).state != ClusterState::Paused);
    let before = world.status(CLUSTER).full_sync.count;
    browser.click("[data-control=sync]");
    world.wait("a full sync", |world| world.status(CLUSTER).full_sync.count > before);

    browser.click("#home");
    browser.click("[data-control=pause-all]");
    browser.click("#dialog-yes");
    browser.wait(
        "all are paused",
        "[...document.querySelectorAll('#rows .pill')].every((pill) => pill.innerText === 'paused')",
    );
    browser.click("[data-control=resume-all]");
    browser.click("#dialog-yes");
    browser.wait(
        "none is",
        "[...document.querySelectorAll('#rows .pill')].every((pill) => pill.innerText !== 'paused')",
    );
    quiet(&browser);
}

#[test]
fn the_language_is_the_browsers_until_it_is_switched_and_then_remembered() {
    let world = three_clusters();
    let browser = open("zh-CN", &address(&world));
    let heading = || browser.text("#clusters-title");
    assert_eq!(
        (heading().as_str(), browser.run("return document.documentElement.lang")),
        ("集群", json!("zh-CN"))
    );
    browser.wait("the refused pod is a problem", "document.querySelector('[data-kind=rejected]')");
    pictures(&browser, "overview-chinese");
    browser.click("#language");
    assert_eq!(
        (heading().as_str(), browser.run("return document.documentElement.lang")),
        ("Clusters", json!("en"))
    );
    browser.open(&address(&world));
    browser.wait("the table is filled", "document.querySelector('#rows tr')");
    assert_eq!(heading(), "Clusters");
    browser.click("#language");
    browser.open(&format!("{}#/clusters/{CLUSTER}", address(&world)));
    browser.wait("the cluster's page", "document.querySelector('#rejected td')");
    browser.wait("the facts are Chinese", "document.querySelector('#facts').innerText.includes('全量同步')");
    pictures(&browser, "cluster-chinese");
    quiet(&browser);
}

#[test]
fn what_the_service_says_is_chinese_on_the_chinese_page_and_the_words_of_others_stay() {
    let mut world = three_clusters();
    let browser = open("zh-CN", &address(&world));
    let messages = "[...document.querySelectorAll('[data-kind=watch] .message')]";
    world.kill_storage();
    browser.wait("no events", &format!("{messages}.length"));
    let said = browser.text("[data-kind=watch] .message");
    assert!(said.contains("监听流") && !said.contains("watch stream"), "{said}");
    let english = browser.run(&format!("return {messages}[0].title"));
    assert!(english.as_str().unwrap().contains("watch stream"), "{english}");
    browser.wait("refused", &format!("{messages}.some((one) => one.innerText.includes('连接被拒绝'))"));
    quiet(&browser);
}

#[test]
fn sentences_in_sentences_are_chinese_and_the_words_of_others_stay() {
    let said = [
        (
            "full_sync",
            "full sync: CMDB answered 502: HTTP 502: <b>bad gateway</b>",
            "全量同步：CMDB 返回 502：HTTP 502：<b>bad gateway</b>",
        ),
        (
            "watch",
            "no watch stream: bcs-storage: cannot connect to s:1: Permission denied (os error 13); is it running, \
             and is its address right?",
            "没有监听流：bcs-storage：无法连接 s:1：没有权限（系统错误 13）；它是否在运行，地址是否正确？",
        ),
        (
            "cmdb_writes",
            "the CMDB answered 9900403: no right; let the user of cmdb_user read and edit this business in the CMDB",
            "CMDB 返回 9900403：no right；请在 CMDB 中授予 cmdb_user 读取和编辑该业务的权限",
        ),
        ("waiting", "a later release's own words", "a later release's own words"),
    ];
    let (english, chinese) = broken_configuration();
    let said = said.into_iter().chain([("configuration", english.as_str(), chinese.as_str())]);
    let said: Vec<(&str, &str, &str)> = said.collect();
    let mut cluster = fake::cluster(CLUSTER, ClusterState::Degraded, None);
    cluster
        .problems
        .extend(said.iter().map(|&(kind, message, _)| ProblemStatus { kind, message: message.into() }));
    let source = Arc::new(Fake::new(vec![cluster]));
    let (_server, address) = serve(&source, None);
    let browser = open("zh-CN", &address);
    for (kind, english, chinese) in said {
        assert_eq!(browser.text(&format!("[data-kind={kind}] .message")), chinese);
        browser.click("#language");
        assert_eq!(browser.text(&format!("[data-kind={kind}] .message")), english);
        browser.click("#language");
    }
    quiet(&browser);
}

/// What a changed configuration file with a good deal wrong in it is told to be, here and in Chinese.
fn broken_configuration() -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.json");
    let text = r#"{"zkk": "", "zk": "", "port": 70000, "storage_addrs": ["ftp://a", "b:0"],
        "cmdb_addr": "c", "task_manager_type": "file", "task_file": "/none", "time_zone": "Mars/Base",
        "server_cert_file": "Cargo.toml", "paas_app_secret": {"env": "NO_SUCH_VARIABLE"}}"#;
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let problems = Config::load(&sources).unwrap_err().in_one_line();
    let english = format!(
        "the new configuration is not in force: {problems}; correct it, the last good one still holds"
    );
    let chinese = [
        "新配置未生效：zkk：不是同步器的配置项；是否指 `zk`？（FILE 第 1 行）",
        "port：必须是 0 到 65535 之间的整数；给出的是 70000（FILE 第 1 行）",
        "cmdb_user：必须给出：发送给 CMDB 的用户名",
        "storage_addrs：每一项必须是基础 URL：协议必须是 http 或 https；给出的是 [\"ftp://a\", \"b:0\"]（FILE 第 1 行）",
        "task_file：无法读取：文件或目录不存在（系统错误 2）；给出的是 \"/none\"（FILE 第 2 行）",
        "paas_app_secret：环境变量 NO_SUCH_VARIABLE 没有设置或为空（FILE 第 3 行）",
        "server_key_file：与 server_cert_file 一起时必须给出",
        "time_zone：必须是 local、UTC 或本机认识的 IANA 名称，例如 Asia/Shanghai（软件包 tzdata）；给出的是 \"Mars/Base\"（FILE 第 2 行）；\
         请改正，在此之前沿用上一次有效的配置",
    ]
    .join("；另外，");
    (english, chinese.replace("FILE", file.to_str().unwrap()))
}

#[test]
fn a_fault_appears_with_what_to_do_and_goes_when_it_is_over() {
    let mut world = three_clusters();
    let browser = open("en", &address(&world));
    assert_eq!(browser.count("[data-kind=watch]"), 0);
    world.kill_storage();
    browser.wait("no events", "document.querySelector('[data-kind=watch]')");
    // Of each cluster the stream ends for itself.
    let card = "document.querySelector('[data-kind=watch]').innerText";
    browser.wait("all three", &format!("{card}.includes('3 clusters')"));
    let card = browser.text("[data-kind=watch]");
    for words in
        ["No events from bcs-storage", "3 clusters", CLUSTER, "What to do: See that bcs-storage answers"]
    {
        assert!(card.contains(words), "{words}: {card}");
    }
    browser.wait("it is announced", "document.querySelector('#said').textContent.includes('problems')");
    browser.wait("they are degraded", "document.querySelector('#rows .pill').innerText === 'degraded'");
    pictures(&browser, "fault");
    for name in ["web-1", "web-2", "web-3"] {
        world.delete(name);
    }
    world.restart_storage();
    browser.wait("it is over", "!document.querySelector('[data-kind=watch]')");

    // What was deleted meanwhile is more than goes without a question.
    browser.wait("a question", "document.querySelector('[data-kind=held_back_deletes]')");
    browser.click("[data-kind=held_back_deletes] a");
    browser.wait("the button", "document.querySelector('[data-control=approve]')");
    assert_eq!(browser.text("[data-control=approve]"), "Approve 3 deletes");
    browser.wait("they are named", "document.querySelectorAll('#held tbody tr').length === 3");
    assert!(browser.text("#held").contains("default/web-2"));
    browser.click("[data-control=approve]");
    browser.wait("the dialog", "document.getElementById('dialog').open");
    browser.picture("approve");
    browser.click("#dialog-yes");
    browser.wait("they are done", "document.querySelectorAll('#changes td').length && document.querySelector('#changes').innerText.includes('deleted')");
    browser.wait("nothing is held back", "!document.querySelector('[data-control=approve]')");
    quiet(&browser);

    // A service that is gone is no page that stands still.
    assert!(browser.run("return document.getElementById('stale').hidden").as_bool().unwrap());
    world.stop();
    browser.wait("it says so", "!document.getElementById('stale').hidden");
    assert!(browser.text("#stale").contains("No answer from this instance since"));
}

#[test]
fn everything_can_be_read_reached_and_named() {
    let world = three_clusters();
    let browser = open("en", &address(&world));
    browser.wait("a problem", "document.querySelector('.problem')");
    for place in ["#/", "#/clusters/BCS-K8S-00001"] {
        browser.run(&format!("location.hash = '{place}'"));
        browser.wait(
            "its content",
            "document.querySelector(location.hash === '#/' ? '#rows a' : '#rejected td')",
        );
        for scheme in ["light", "dark"] {
            browser.screen(1280, 900, scheme);
            assert_eq!(browser.weak_contrasts(), json!([]), "{place} {scheme}");
        }
        let controls = browser.controls();
        assert!(controls.len() > 8, "{controls:?}");
        assert!(controls.iter().all(|(_, name)| !name.trim().is_empty()), "{controls:?}");
    }
    // By keyboard alone: past the head of the page, then everything in its order.
    browser.open(&address(&world));
    browser.wait("the table is filled", "document.querySelector('#rows a')");
    browser.press(&[browser::TAB]);
    assert_eq!(browser.run("return document.activeElement.id"), "skip");
    browser.press(&[browser::ENTER]);
    assert_eq!(browser.run("return document.activeElement.id"), "content");
    let reached = || browser.run("return document.activeElement.closest('#rows') !== null") == true;
    let presses = (0..60).find(|_| {
        browser.press(&[browser::TAB]);
        reached()
    });
    assert!(presses.is_some(), "the table is out of reach");
    browser.press(&[browser::ENTER]);
    browser.wait("the cluster's page", "document.activeElement.id === 'cluster-title'");
    quiet(&browser);
}

/// A thousand clusters, some of them in trouble, one with a hostile name.
fn thousand() -> Arc<Fake> {
    let mut clusters: Vec<_> = (0..999)
        .map(|number| {
            let state = if number % 10 == 3 { ClusterState::Degraded } else { ClusterState::Live };
            let mut cluster = fake::cluster(&format!("BCS-K8S-{number:05}"), state, None);
            cluster.bk_biz_id = number % 7;
            cluster.pods.rejected = 0;
            cluster.pods.storage = number as usize * 7919 % 5000;
            cluster.pods.cmdb = cluster.pods.storage / 2;
            cluster.lag_seconds = Some(number as f64 * 31.0 % 97.0);
            cluster.senders.queued = number as usize * 13 % 50;
            if state == ClusterState::Degraded {
                cluster
                    .problems
                    .push(ProblemStatus { kind: "full_sync", message: "storage: HTTP 503".into() });
            }
            cluster
        })
        .collect();
    let mut nasty = fake::cluster(NASTY, ClusterState::Degraded, None);
    let message = "</p><img src=x onerror=alert(1)><script>alert(2)</script>";
    nasty.problems.push(ProblemStatus { kind: "of_a_later_release", message: message.into() });
    clusters.push(nasty);
    let ids: Vec<&str> = clusters.iter().map(|cluster| cluster.cluster_id.as_str()).collect();
    let worker = |instance: &str, alive: bool, version: &str, clusters: &[&str]| json!({"instance": instance, "alive": alive, "version": version, "clusters": clusters});
    let workers = [
        worker("127.0.0.1:8080", true, "1.2.3", &ids),
        worker("10.0.0.2:8080", false, "", &["BCS-K8S-70000", "a\"/b?"]),
        worker("a@b/<img src=x onerror=alert(1)>", true, "1.2.3", &["elsewhere"]),
    ];
    let assignment = json!({"master": "127.0.0.1:8080", "workers": workers, "unassigned": ["BCS-K8S-80000"],
        "left": ["BCS-K8S-90000"]});
    Arc::new(Fake { assignment, ..Fake::new(clusters) })
}

fn serve(source: &Arc<Fake>, token: Option<&str>) -> (StatusServer, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server =
        StatusServer::start(listener, None, token.map(Secret::new), Hosts::default(), source.clone())
            .unwrap();
    let address = format!("http://{}/", server.addr());
    (server, address)
}

/// What a change of the table costs, as counts: changes of the document, elements put into it, and rows
/// that were built anew. Time is for the reader; a busy machine may take any.
fn cost(browser: &Browser, action: &str) -> [u64; 3] {
    let script = format!(
        "const rows = () => [...document.querySelectorAll('#rows tr')];
        const before = new Set(rows()), observer = new MutationObserver(() => {{}});
        observer.observe(document.body, {{childList: true, subtree: true, attributes: true, characterData: true}});
        const start = performance.now();
        {action}; document.body.offsetHeight;
        const time = performance.now() - start, records = observer.takeRecords();
        observer.disconnect();
        const added = records.reduce((sum, record) => sum + record.addedNodes.length, 0);
        return [records.length, added, rows().filter((row) => !before.has(row)).length, time]"
    );
    let [records, added, built, time]: [f64; 4] = serde_json::from_value(browser.run(&script)).unwrap();
    println!("{action}: {time:.0} ms");
    [records, added, built].map(|count| count as u64)
}

#[test]
fn a_thousand_clusters_are_sorted_and_filtered_without_a_wait() {
    let source = thousand();
    let (_server, address) = serve(&source, None);
    let browser = open("en", &address);
    assert_eq!((browser.count("#rows tr"), browser.text("#shown").as_str()), (1000, "1,000 of 1,000"));
    assert_eq!(browser.count(".problem"), 7, "one entry per kind, however many clusters");
    assert!(browser.text("[data-kind=full_sync]").contains("100 clusters"));
    pictures(&browser, "thousand");
    // Each row is moved once; none is built, and no cell is touched.
    let [changes, moved, built] =
        cost(&browser, "document.querySelector('th[data-key=storage] button').click()");
    assert!(changes <= 1010 && moved <= 1001 && built == 0, "{changes} {moved} {built}");
    let type_in =
        "const s = document.querySelector('#search'); s.value = '0012'; s.dispatchEvent(new Event('input'))";
    let [changes, moved, built] = cost(&browser, type_in);
    assert!(changes < 20 && moved < 20 && built == 0, "{changes} {moved} {built}");
    assert_eq!(browser.count("#rows tr"), 11);
    browser.fill("#search", "");
    // Every column, both ways: what is sorted by a number stands in its order.
    let sort_all = "const columns = [...document.querySelectorAll('th[data-key]')];
        const shown = (head) => [...document.querySelectorAll('#rows tr')].map((row) => Number(row.cells[head.cellIndex].textContent.replace(/\\D/g, '')));
        const inOrder = (list) => list.every((value, at) => !at || list[at - 1] <= value);
        return columns.flatMap((head) => ['ascending', 'descending'].map((direction) => {
          head.querySelector('button').click();
          const list = direction === 'ascending' ? shown(head) : shown(head).reverse();
          const numeric = ['business', 'storage', 'cmdb', 'queue'].includes(head.dataset.key);
          return head.dataset.key + ' ' + (head.ariaSort === direction && (!numeric || inOrder(list)));
        }))";
    let sorted: Vec<String> = serde_json::from_value(browser.run(sort_all)).unwrap();
    assert!(sorted.len() == 18 && sorted.iter().all(|column| column.ends_with("true")), "{sorted:?}");
    for (state, rows) in [("degraded", 101), ("live", 899), ("paused", 0), ("", 1000)] {
        let choose = "const s = document.querySelector('#state'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))";
        browser.run(&choose.replace("arguments[0]", &format!("'{state}'")));
        assert_eq!(browser.count("#rows tr"), rows, "{state}");
    }
    browser.click("[data-kind=full_sync] button");
    assert_eq!(browser.count("#rows tr"), 100, "those of one problem");
    browser.click("#kind");
    assert_eq!(browser.count("#rows tr"), 1000);
    quiet(&browser);
}

#[test]
fn the_instances_show_who_holds_what_and_who_is_gone() {
    let source = thousand();
    let (_server, address) = serve(&source, None);
    let browser = open("en", &address);
    browser.wait("the instances", "document.querySelectorAll('#instances tbody tr').length === 3");
    let text = browser.text("#instances");
    for words in
        ["127.0.0.1:8080 (this one)", "master", "1,000 clusters", "10.0.0.2:8080", "gone", "BCS-K8S-70000"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    for (kind, words) in
        [("worker_gone", "10.0.0.2:8080"), ("unassigned", "BCS-K8S-80000"), ("left", "BCS-K8S-90000")]
    {
        assert!(browser.text(&format!("[data-kind={kind}]")).contains(words), "{kind}");
    }
    browser.click("#instances summary");
    browser.wait("all names", "document.querySelectorAll('#instances details a').length === 1000");
    // A cluster of another instance has no page here, but the page knows where it is.
    browser.run("location.hash = '#/clusters/BCS-K8S-70000'");
    browser.wait(
        "its place",
        "document.querySelector('#cluster-problems').innerText.includes('10.0.0.2:8080 has it')",
    );
    let link = "return document.querySelector('#cluster-problems a')?.href";
    assert_eq!(browser.run(link), "http://10.0.0.2:8080/#/clusters/BCS-K8S-70000");
    // What is no address is text, and the name in a link is escaped.
    browser.run("location.hash = '#/clusters/elsewhere'");
    browser.wait("its text", "document.querySelector('#cluster-problems').innerText.includes('onerror')");
    assert_eq!((browser.count("#cluster-problems a"), browser.count("main img")), (0, 0));
    browser.run("location.hash = '#/clusters/a%22%2Fb%3F'");
    browser.wait("its place", "document.querySelector('#cluster-problems a')");
    assert_eq!(browser.run(link), "http://10.0.0.2:8080/#/clusters/a%22%2Fb%3F");
    quiet(&browser);
}

#[test]
fn hostile_names_and_messages_are_text_and_nothing_else() {
    let source = thousand();
    let (_server, address) = serve(&source, None);
    let browser = open("en", &address);
    assert!(browser.text("[data-kind=of_a_later_release]").contains("<script>alert(2)</script>"));
    assert_eq!((browser.count("main img"), browser.count("main script")), (0, 0));
    browser.fill("#search", NASTY);
    browser.click("#rows a");
    browser.wait("its page", "document.querySelector('#rejected td')");
    assert_eq!(browser.text("#cluster-title"), NASTY);
    browser.click("[data-control=sync]");
    world::wait_until("the command came", PATIENCE, || !source.controls.lock().is_empty());
    assert_eq!(*source.controls.lock(), [(NASTY.to_owned(), Control::Sync)]);
    // Addresses that mean no cluster are said to mean none.
    for hash in ["#/clusters/%3Cb%3Enobody", "#/clusters/%ff"] {
        browser.run(&format!("location.hash = '{hash}'"));
        browser.wait("an answer", "!document.querySelector('[data-control=sync]')");
    }
    quiet(&browser);
}

#[test]
fn a_command_asks_for_the_token_once_and_keeps_it_nowhere() {
    let source = Arc::new(Fake::new(vec![fake::cluster("BCS-K8S-1", ClusterState::Live, None)]));
    let (_server, address) = serve(&source, Some("the-token"));
    let browser = open("en", &address);
    browser.click("#rows a");
    browser.click("[data-control=sync]");
    browser.wait("the question", "document.getElementById('dialog').open");
    quietly_refused(&browser);
    browser.fill("#dialog-input", "the-token");
    browser.press(&[browser::ENTER]);
    world::wait_until("the command came", PATIENCE, || source.controls.lock().len() == 1);
    browser.wait("it is said", "document.getElementById('notice')?.innerText.includes('Full sync now')");
    browser.click("[data-control=sync]");
    world::wait_until("the second came without a question", PATIENCE, || source.controls.lock().len() == 2);
    let kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, document.body.outerHTML])";
    assert!(!browser.run(kept).as_str().unwrap().contains("the-token"));
    quiet(&browser);
}

/// The one thing Chromium itself says when a request is answered with 401.
fn quietly_refused(browser: &Browser) {
    let console = browser.console();
    assert!(console.len() == 1 && console[0].contains("status of 401"), "{console:?}");
}

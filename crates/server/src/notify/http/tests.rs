//! Requests to a real server of this machine, and those that never leave.

use super::*;
use crate::fixture::Recorder;

fn request(url: &str) -> Request {
    Request {
        url: url.to_owned(),
        header: Some(("authorization", "Bearer SECRET".to_owned())),
        body: "{}".to_owned().into(),
    }
}

async fn told(url: &str) -> String {
    send(&request(url), false).await.unwrap_err().text()
}

#[tokio::test]
async fn nothing_goes_to_this_machine_or_its_link_however_the_address_is_written() {
    let local = "its address is of this machine, or link-local";
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
        "224.0.0.1",
    ] {
        assert_eq!(told(&format!("http://{host}:9/SECRET")).await, local, "{host}");
    }
}

#[test]
fn addresses_of_the_network_are_not_local() {
    for address in
        ["10.0.0.5", "192.168.1.2", "172.16.0.1", "1.1.1.1", "2606:4700::1111", "fd12::1", "64:ff9b::101:101"]
    {
        assert!(!is_local(address.parse().unwrap()), "{address}");
    }
}

#[tokio::test]
async fn where_it_is_allowed_it_goes_there_and_failures_never_show_the_address_or_the_token() {
    let recorder = Recorder::start(vec![204, 302, 500]).await;
    let url = recorder.url("/SECRET");
    send(&request(&url), true).await.unwrap();
    let all = recorder.requests();
    assert!(all[0].starts_with("POST /SECRET HTTP/1.1\r\n") && all[0].ends_with("\r\n\r\n{}"), "{all:?}");
    assert!(
        all[0].contains("authorization: Bearer SECRET\r\n") && all[0].contains("content-type: application/json\r\n")
    );
    let failure = async |url: &str| send(&request(url), true).await.unwrap_err();
    let redirected = failure(&url).await.text();
    assert_eq!(redirected, "it answered 302 Found, and redirects are not followed");
    assert_eq!(recorder.requests().len(), 2, "it was not followed");
    assert_eq!(failure(&url).await.text(), "it answered 500 Internal Server Error");
    let gone = failure("http://127.0.0.1:1/SECRET").await;
    assert!(gone.text().starts_with("it cannot be reached: "), "{gone:?}");
    assert!(!format!("{gone:?}").contains("SECRET"));
    let nobody = failure("http://nobody.invalid/SECRET").await;
    assert_eq!(nobody.text(), "the name of its server is not known");
    for odd in ["SECRET", "ftp://x/SECRET", "file:///SECRET", "http:///"] {
        assert!(!format!("{:?}", failure(odd).await).contains("SECRET"), "{odd}");
    }
}

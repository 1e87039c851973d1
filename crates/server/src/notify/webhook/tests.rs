//! What each service is sent.

use expect_test::expect;
use jiff::Timestamp;
use operations::config::Typed;

use super::*;

fn message() -> Message {
    Message {
        title: "stack a on h: NOT SAFE".to_owned(),
        text: "- critical: \"old\" <b> & {title}\n  run it".to_owned(),
        level: Level::Critical,
        subject: "stack a".to_owned(),
        state: "problem",
        host: "h".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn settings(preset: Preset) -> WebhookSettings {
    WebhookSettings { preset, url: None, token: None, chat: Some("17".to_owned()), body: None, allow_local: false }
}

/// The address, the header and the body.
fn sent(settings: &WebhookSettings, url: &str, token: Option<&str>) -> String {
    let secret = |text: &str| Secret::new(text.to_owned());
    let url = (!url.is_empty()).then(|| secret(url));
    let request = request(settings, url.as_ref(), token.map(secret).as_ref(), &message()).unwrap();
    let header = request.header.as_ref().map(|(name, value)| format!(" [{name}: {value}]")).unwrap_or_default();
    let http::Body::Json(body) = &request.body else { panic!("it is JSON") };
    serde_json::from_str::<serde_json::Value>(body).unwrap();
    assert_eq!(format!("{request:?}"), "Request(…)");
    format!("{}{header} {body}", request.url)
}

#[test]
fn each_service_gets_what_it_takes() {
    let all = [
        sent(&settings(Preset::Webhook), "https://x/y?z=1", Some("T")),
        sent(&settings(Preset::Ntfy), "https://ntfy.sh/topic", Some("T")),
        sent(&settings(Preset::Slack), "https://hooks.slack.com/services/A", None),
        sent(&settings(Preset::Discord), "https://discord.com/api/webhooks/A/B", None),
        sent(&settings(Preset::Teams), "https://x.logic.azure.com/invoke?sig=S", None),
        sent(&settings(Preset::Telegram), "", Some("1:T")),
        sent(&settings(Preset::Gotify), "https://gotify.example.org/", Some("T")),
    ];
    expect![[r#"
        https://x/y?z=1 [authorization: Bearer T] {"host":"h","severity":"critical","state":"problem","subject":"stack a","text":"- critical: \"old\" <b> & {title}\n  run it","time":"1970-01-01T00:00:00Z","title":"stack a on h: NOT SAFE"}
        https://ntfy.sh [authorization: Bearer T] {"message":"- critical: \"old\" <b> & {title}\n  run it","priority":5,"title":"stack a on h: NOT SAFE","topic":"topic"}
        https://hooks.slack.com/services/A {"text":"*stack a on h: NOT SAFE*\n- critical: \"old\" &lt;b&gt; &amp; {title}\n  run it"}
        https://discord.com/api/webhooks/A/B {"allowed_mentions":{"parse":[]},"content":"**stack a on h: NOT SAFE**\n- critical: \"old\" <b> & {title}\n  run it"}
        https://x.logic.azure.com/invoke?sig=S {"attachments":[{"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","body":[{"text":"stack a on h: NOT SAFE","type":"TextBlock","weight":"Bolder","wrap":true},{"text":"- critical: \"old\" <b> & {title}\n\n  run it","type":"TextBlock","weight":"Default","wrap":true}],"type":"AdaptiveCard","version":"1.4"},"contentType":"application/vnd.microsoft.card.adaptive"}],"type":"message"}
        https://api.telegram.org/bot1:T/sendMessage {"chat_id":"17","text":"stack a on h: NOT SAFE\n- critical: \"old\" <b> & {title}\n  run it"}
        https://gotify.example.org/message [x-gotify-key: T] {"message":"- critical: \"old\" <b> & {title}\n  run it","priority":8,"title":"stack a on h: NOT SAFE"}"#]].assert_eq(&all.join("\n"));
}

#[test]
fn a_body_of_ones_own_gets_the_values_as_they_stand_in_quotes() {
    let body = r#"{"a": "{title}", "b": {"c": "{text}"}, "d": "{severity} {subject} {state} {host} {other}"}"#;
    let own = WebhookSettings { body: Some(Typed::from(body.to_owned())), ..settings(Preset::Webhook) };
    let sent = sent(&own, "https://x/", None);
    let value: serde_json::Value = serde_json::from_str(sent.split_once(' ').unwrap().1).unwrap();
    assert_eq!(value["a"], message().title);
    assert_eq!(value["b"]["c"], message().text, "what is in a value is not replaced again");
    assert_eq!(value["d"], "critical stack a problem h {other}");
}

#[test]
fn what_is_too_long_is_cut_between_letters() {
    let long = Message { text: "ä".repeat(5_000), ..message() };
    let token = Secret::new("T".to_owned());
    let request = request(&settings(Preset::Telegram), None, Some(&token), &long).unwrap();
    let http::Body::Json(body) = request.body else { panic!("it is JSON") };
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(value["text"].as_str().unwrap().chars().count() < 2_000);
}

#[test]
fn a_topic_must_be_named() {
    let url = Secret::new("https://ntfy.sh".to_owned());
    let fault = request(&settings(Preset::Ntfy), Some(&url), None, &message()).unwrap_err();
    assert!(fault.text().contains("names no topic"), "{fault:?}");
}

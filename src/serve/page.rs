//! The page: the owner's settings put into it, and the policy that lets it run nothing else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::config::PageSettings;
use super::http::Response;

const SOURCE: &str = include_str!("page.html");
/// The element that holds the settings.
const SLOT: &str = r#"<script type="application/json" id="settings">{}</script>"#;
/// Largest logo, in bytes.
const MAX_LOGO: u64 = 256 << 10;

/// The page, ready to be sent.
#[derive(Clone, Debug)]
pub struct Page {
    response: Response,
}

/// What the page's script reads.
#[derive(Serialize)]
struct Settings<'a> {
    title: Option<&'a str>,
    subtitle: Option<&'a str>,
    language: &'a str,
    accent: Option<&'a str>,
    accent_dark: Option<&'a str>,
    logo: Option<String>,
    examples: &'a [String],
    idle_seconds: u32,
    answer_seconds: f64,
}

impl Page {
    /// The page with these settings, whose questions are answered within `limit`.
    ///
    /// # Errors
    /// What is wrong with the logo.
    pub fn new(settings: &PageSettings, limit: Duration) -> Result<Self, String> {
        let values = Settings {
            title: settings.title.as_deref(),
            subtitle: settings.subtitle.as_deref(),
            language: &settings.language,
            accent: settings.accent.as_deref(),
            accent_dark: settings.accent_dark.as_deref(),
            logo: settings.logo.as_deref().map(data_uri).transpose()?,
            examples: &settings.examples,
            idle_seconds: settings.idle_seconds,
            answer_seconds: limit.as_secs_f64(),
        };
        // No text of the owner can end the element.
        let json = serde_json::to_string(&values).map_err(|e| e.to_string())?.replace('<', "\\u003c");
        let html = SOURCE.replacen(SLOT, &SLOT.replace("{}", &json), 1);
        let policy = policy(SOURCE);
        let headers = format!("Content-Security-Policy: {policy}\r\nReferrer-Policy: no-referrer\r\n");
        Ok(Self { response: Response { content_type: "text/html; charset=utf-8", headers, ..Response::json(html) } })
    }

    /// What to send.
    pub fn response(&self) -> Response {
        self.response.clone()
    }
}

/// Allows the inline styles and scripts that `html` has, and requests to this daemon.
fn policy(html: &str) -> String {
    let hashes = |tag| {
        let list: String =
            inline(html, tag).map(|text| format!(" 'sha256-{}'", BASE64.encode(Sha256::digest(text)))).collect();
        if list.is_empty() { " 'none'".to_owned() } else { list }
    };
    format!(
        "default-src 'none'; connect-src 'self'; img-src data:; style-src{}; script-src{}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hashes("style"),
        hashes("script")
    )
}

/// The contents of the elements `tag`, except those that only hold data.
fn inline<'a>(html: &'a str, tag: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut rest = html;
    std::iter::from_fn(move || {
        loop {
            let from = &rest[rest.find(&open)? + open.len()..];
            let (attributes, from) = from.split_once('>')?;
            let (content, after) = from.split_once(close.as_str())?;
            rest = after;
            if !attributes.contains("application/json") {
                return Some(content);
            }
        }
    })
}

fn data_uri(path: &Path) -> Result<String, String> {
    let error = |problem: &str| format!("cannot use the logo {}: {problem}", path.display());
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let kind = match extension.as_deref() {
        Some("svg") => "svg+xml",
        Some("png") => "png",
        _ => return Err(error("it is neither .svg nor .png")),
    };
    let metadata = fs::metadata(path).map_err(|e| error(&e.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_LOGO {
        return Err(error(&format!("it is no file of at most {MAX_LOGO} bytes")));
    }
    let bytes = fs::read(path).map_err(|e| error(&e.to_string()))?;
    Ok(format!("data:image/{kind};base64,{}", BASE64.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_elements_are_found_and_data_are_not() {
        let html =
            r#"<style>a</style><script type="application/json" id="x">{}</script><script>b</script><style media="p">c"#;
        assert_eq!(inline(html, "script").collect::<Vec<_>>(), ["b"]);
        assert_eq!(inline(html, "style").collect::<Vec<_>>(), ["a"]);
        // echo -n a | openssl dgst -sha256 -binary | base64
        assert!(policy(html).contains("style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=';"));
    }

    #[test]
    fn settings_are_data_that_no_text_can_leave() {
        let folder = tempfile::tempdir().unwrap();
        let logo = folder.path().join("logo.svg");
        fs::write(&logo, "<svg/>").unwrap();
        let title = Some("</script><script>alert(1)</script>".to_owned());
        let settings = PageSettings { title, logo: Some(logo.clone()), ..PageSettings::default() };
        let response = Page::new(&settings, Duration::from_secs(30)).unwrap().response();
        let html = String::from_utf8(response.body).unwrap();
        assert_eq!(html.matches("<script").count(), SOURCE.matches("<script").count());
        let json = html.split_once(r#"id="settings">"#).unwrap().1.split_once("</script>").unwrap().0;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["title"], "</script><script>alert(1)</script>");
        assert_eq!(value["logo"], "data:image/svg+xml;base64,PHN2Zy8+");
        assert_eq!(value["subtitle"], serde_json::Value::Null);
        assert!(response.headers.contains("default-src 'none'") && response.headers.contains("'sha256-"));
        let settings = PageSettings { logo: Some(folder.path().join("x.gif")), ..settings };
        assert!(Page::new(&settings, Duration::ZERO).is_err());
    }
}

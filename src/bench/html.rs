//! Reports as a page for browsers.
use super::page::Page;
/// `page` as HTML.
pub fn html(page: &Page) -> String {
    page.title.clone()
}

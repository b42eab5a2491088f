//! A link as a picture for a phone's camera.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// The QR code of a link, drawn with half blocks for light text on a dark ground; `None` if it does not fit.
pub(super) fn draw(link: &str, columns: usize) -> Option<String> {
    let code = QrCode::new(link).ok()?;
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let width = picture.lines().map(|line| line.chars().count()).max()?;
    (width <= columns).then_some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_does_not_fit_is_not_drawn() {
        let link = "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH";
        let picture = draw(link, 80).unwrap();
        assert!(picture.lines().count() > 10);
        assert!(picture.chars().all(|character| " █▀▄\n".contains(character)));
        assert_eq!(draw(link, 20), None);
    }
}

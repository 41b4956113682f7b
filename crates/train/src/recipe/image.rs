//! Height and width of the images a model takes, as a recipe and a command line say them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Unexpected, Visitor},
};

/// Height and width in pixels. In a recipe a number where both are the same, `image_size = 48`, or `image_size = [48, 32]`; on a
/// command line `48` or `48x32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

/// What a reference of recipes says of an [`ImageSize`].
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[allow(dead_code, reason = "its fields are for the reference alone")]
pub(super) enum Sides {
    /// Of both.
    One(usize),
    /// Height and width.
    Two((usize, usize)),
}

impl From<(usize, usize)> for ImageSize {
    fn from((height, width): (usize, usize)) -> Self {
        Self { height, width }
    }
}

impl From<ImageSize> for (usize, usize) {
    fn from(ImageSize { height, width }: ImageSize) -> Self {
        (height, width)
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |side: &str| side.parse().ok().filter(|side| *side > 0);
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        match (side(height), side(width)) {
            (Some(height), Some(width)) => Ok(Self { height, width }),
            _ => Err("expected HEIGHTxWIDTH in pixels, such as 48x32, or one number for both".to_owned()),
        }
    }
}

impl Serialize for ImageSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { height, width } = *self;
        if height == width { height.serialize(serializer) } else { [height, width].serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ImageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl<'de> Visitor<'de> for Size {
            type Value = ImageSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of pixels, or [height, width]")
            }

            fn visit_u64<E: de::Error>(self, side: u64) -> Result<ImageSize, E> {
                let found = usize::try_from(side).map(|side| (side, side).into());
                found.map_err(|_| E::invalid_value(Unexpected::Unsigned(side), &self))
            }

            fn visit_i64<E: de::Error>(self, side: i64) -> Result<ImageSize, E> {
                let found = usize::try_from(side).map(|side| (side, side).into());
                found.map_err(|_| E::invalid_value(Unexpected::Signed(side), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<ImageSize, A::Error> {
                let two = |found| de::Error::invalid_length(found, &self);
                let height = sides.next_element()?.ok_or_else(|| two(0))?;
                let width = sides.next_element()?.ok_or_else(|| two(1))?;
                match sides.next_element::<usize>()? {
                    None => Ok(ImageSize { height, width }),
                    Some(_) => Err(two(3)),
                }
            }
        }
        deserializer.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        size: ImageSize,
    }

    #[test]
    fn a_number_is_a_square_and_two_are_height_and_width() {
        for (text, size) in [("size = 48\n", (48, 48)), ("size = [48, 32]\n", (48, 32))] {
            let holder = Holder { size: size.into() };
            assert_eq!(toml::from_str::<Holder>(text).unwrap(), holder);
            assert_eq!(toml::to_string(&holder).unwrap(), text);
        }
        for text in ["size = -1", "size = [1]", "size = [1, 2, 3]", "size = \"48x32\"", "size = [1, -2]"] {
            let error = toml::from_str::<Holder>(text).unwrap_err().to_string();
            assert!(error.contains("size = "), "{error}");
        }
    }

    #[test]
    fn a_command_line_has_an_x_between_height_and_width() {
        for (text, size) in [("48", (48, 48)), ("48x32", (48, 32))] {
            assert_eq!(text.parse(), Ok(ImageSize::from(size)));
        }
        assert_eq!(ImageSize::from((48, 32)).to_string(), "48x32");
        for text in ["", "x", "48x", "48x32x3", "-1", "0x4", "4 x 4"] {
            assert!(text.parse::<ImageSize>().unwrap_err().contains("48x32"), "{text}");
        }
    }
}

//! A squarified treemap (Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000): rectangles whose
//! areas are sizes and whose sides are as equal as can be.

/// A rectangle, in the unit of the area that was divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Divides `area` among `sizes`, which are sorted, the largest first; one rectangle each, in their
/// order. Sizes of zero get an empty one.
pub(super) fn divide(sizes: &[u64], area: Rectangle) -> Vec<Rectangle> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    if total <= 0.0 {
        return vec![Rectangle { width: 0.0, height: 0.0, ..area }; sizes.len()];
    }
    let scale = area.width * area.height / total;
    let areas: Vec<f64> = sizes.iter().map(|size| *size as f64 * scale).collect();
    let mut rectangles = Vec::with_capacity(areas.len());
    let mut left = area;
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = left.width.min(left.height);
        let mut count = 1;
        while count < rest.len() && worst(&rest[..=count], side) <= worst(&rest[..count], side) {
            count += 1;
        }
        let (row, others) = rest.split_at(count);
        left = lay(row, left, &mut rectangles);
        rest = others;
    }
    rectangles
}

/// The worst ratio of sides in a row along a side of this length.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let thickness = sum / side;
    let ratio = |area: &f64| {
        let length = area / thickness;
        (length / thickness).max(thickness / length)
    };
    row.iter().map(ratio).fold(0.0, f64::max)
}

/// Lays a row along the shorter side; gives what is left of the area.
fn lay(row: &[f64], area: Rectangle, rectangles: &mut Vec<Rectangle>) -> Rectangle {
    let sum: f64 = row.iter().sum();
    let upright = area.width >= area.height;
    let side = if upright { area.height } else { area.width };
    let thickness = if side > 0.0 { sum / side } else { 0.0 };
    let mut along = 0.0;
    for size in row {
        let length = if thickness > 0.0 { size / thickness } else { 0.0 };
        let Rectangle { x, y, .. } = area;
        rectangles.push(if upright {
            Rectangle { x, y: y + along, width: thickness, height: length }
        } else {
            Rectangle { x: x + along, y, width: length, height: thickness }
        });
        along += length;
    }
    let Rectangle { x, y, width, height } = area;
    if upright {
        Rectangle { x: x + thickness, y, width: (width - thickness).max(0.0), height }
    } else {
        Rectangle { x, y: y + thickness, width, height: (height - thickness).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rectangle = Rectangle { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };

    #[test]
    fn the_example_of_the_paper_is_divided_as_it_says() {
        let area = Rectangle { width: 6.0, height: 4.0, ..AREA };
        let found = divide(&[6, 6, 4, 3, 2, 2, 1], area);
        let of = |x, y, width, height| Rectangle { x, y, width, height };
        assert_eq!(found[0], of(0.0, 0.0, 3.0, 2.0));
        assert_eq!(found[1], of(0.0, 2.0, 3.0, 2.0));
        let third = found[2];
        assert!((third.width - 12.0 / 7.0).abs() < 1e-9 && (third.height - 7.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn areas_are_sizes_and_no_two_overlap() {
        let sizes = [1_000_000, 90_000, 8_000, 8_000, 700, 60, 5, 1];
        let found = divide(&sizes, AREA);
        let total: u64 = sizes.iter().sum();
        for (size, one) in sizes.iter().zip(&found) {
            let share = one.width * one.height / (AREA.width * AREA.height);
            assert!((share - *size as f64 / total as f64).abs() < 1e-9, "{size}: {one:?}");
            assert!(one.x + one.width <= 600.0 + 1e-6 && one.y + one.height <= 400.0 + 1e-6);
        }
        for (index, a) in found.iter().enumerate() {
            for b in &found[index + 1..] {
                let apart = |a: f64, length: f64, b: f64| a + length <= b + 1e-6;
                assert!(
                    apart(a.x, a.width, b.x)
                        || apart(b.x, b.width, a.x)
                        || apart(a.y, a.height, b.y)
                        || apart(b.y, b.height, a.y),
                    "{a:?} and {b:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_and_zeros_are_no_fault() {
        assert_eq!(divide(&[], AREA), []);
        let found = divide(&[0, 0], AREA);
        assert!(found.iter().all(|one| one.width == 0.0 && one.height == 0.0));
        let found = divide(&[5, 0], AREA);
        assert!(found[1].width * found[1].height == 0.0, "{found:?}");
    }
}

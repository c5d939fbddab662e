//! A batch's dropout masks as tensors.

use tch::{Device, Kind, TchError};

use crate::model::Model;
use crate::model::layers::dropout::{MaskSpec, Masked, StepMasks};
use crate::model::layers::twin::DropoutMasks;
use crate::tensor::device;

/// The masks of `model` for R `replicas` of `rows` rows each, node by node, on `device`. Draws them on
/// the host and uploads them in one transfer, which is queued.
///
/// # Errors
/// If memory is short.
pub fn upload(
    model: &Model,
    [replicas, rows]: [i64; 2],
    masks: StepMasks<'_>,
    (kind, device): (Kind, Device),
) -> Result<Vec<DropoutMasks>, TchError> {
    let specs: Vec<Vec<MaskSpec>> =
        model.nodes.iter().map(|node| node.layer.spec().masks()).collect();
    let mut drawn = Vec::new();
    for (node, specs) in specs.iter().enumerate() {
        for spec in specs {
            draw(&mut drawn, (node, spec), [replicas, rows], masks);
        }
    }
    if drawn.is_empty() {
        return Ok(specs.iter().map(|_| DropoutMasks::default()).collect());
    }
    let all = device::upload_ahead_numbers(&drawn, device)?.f_to_kind(kind)?;
    let mut used = 0;
    let of_node = |specs: &Vec<MaskSpec>| {
        let mut of_node = DropoutMasks::default();
        for spec in specs {
            let numbers = replicas * rows * spec.width;
            let mask = all.f_narrow(0, used, numbers)?.f_view([replicas, rows, spec.width])?;
            used += numbers;
            match spec.masked {
                Masked::Input => of_node.input = Some(mask),
                Masked::Recurrent => of_node.recurrent = Some(mask),
            }
        }
        Ok(of_node)
    };
    specs.iter().map(of_node).collect()
}

/// Adds the masks of a node `(R, B, width)` to `drawn`.
fn draw(
    drawn: &mut Vec<f64>,
    (node, spec): (usize, &MaskSpec),
    [replicas, rows]: [i64; 2],
    masks: StepMasks<'_>,
) {
    let mut mask = vec![0.0_f64; spec.width as usize];
    for replica in 0..replicas as usize {
        let of_layer = masks.of(replica, node);
        for row in 0..rows as usize {
            of_layer.row(spec.masked, spec.rate, row, &mut mask);
            drawn.extend(&mask);
        }
    }
}

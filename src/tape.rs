//! Gradients of computations that run outside libtorch's autograd.

use std::cell::RefCell;

use tch::{TchError, Tensor};

/// Continues a gradient below a computation whose outputs have theirs.
type Node = Box<dyn FnOnce() -> Result<(), TchError>>;

/// What ran outside autograd since the last [`Tape::backward`], in order.
///
/// Such a computation hands its outputs to the graph above as leaves. Once autograd has brought a
/// gradient to these, the computation turns it into gradients of its own inputs and sends them
/// into the graph below. What was recorded stays in memory until the next backward.
#[derive(Default)]
pub struct Tape(RefCell<Vec<Node>>);

impl Tape {
    /// Notes a computation that was done.
    pub fn record(&self, node: impl FnOnce() -> Result<(), TchError> + 'static) {
        self.0.borrow_mut().push(Box::new(node));
    }

    /// Adds the gradient of the scalar `loss` to `grad` of every leaf below it.
    ///
    /// # Errors
    /// libtorch's.
    pub fn backward(&self, loss: &Tensor) -> Result<(), TchError> {
        let nodes = self.0.take();
        loss.f_backward()?;
        nodes.into_iter().rev().try_for_each(|node| node())
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tape({} nodes)", self.0.borrow().len())
    }
}

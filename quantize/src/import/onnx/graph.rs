//! A graph as a table of values: who makes each, what is constant, what depends on the tokens.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::*;

use super::inputs::{self, Role};

/// Operators that move or convert data without computing; the data are their first input.
pub(super) const MOVES: [&str; 15] = [
    "Identity",
    "Dropout",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Cast",
    "CastLike",
    "Expand",
    "Tile",
    "Slice",
    "Split",
    "SplitToSequence",
    "SequenceAt",
];

/// The top-level graph of a model.
pub(super) struct Graph<'a> {
    proto: &'a GraphProto,
    producers: HashMap<&'a str, &'a NodeProto>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// Values that depend on the values (not merely the shapes) of token ids or token types.
    data: HashSet<&'a str>,
    constants: RefCell<HashMap<String, Option<Rc<Tensor>>>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(model: &'a ModelProto) -> anyhow::Result<Self> {
        let proto = model.graph.as_ref().context("the file holds no graph")?;
        let initializers: HashMap<_, _> = proto.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut graph = Self {
            proto,
            producers: HashMap::new(),
            data: HashSet::new(),
            constants: RefCell::default(),
            initializers,
        };
        graph.index()?;
        Ok(graph)
    }

    /// One pass in node order. ONNX requires nodes to be sorted; insisting on it rules out cycles.
    fn index(&mut self) -> anyhow::Result<()> {
        // Every input but the mask carries data: token ids and token types.
        let inputs = inputs::fed(self.proto).map(|input| input.name.as_str());
        self.data.extend(inputs.filter(|name| Role::of(name) != Some(Role::Mask)));
        for node in &self.proto.node {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                ensure!(
                    self.producers.insert(output, node).is_none() && !self.initializers.contains_key(output.as_str()),
                    "value {output:?} is made twice: the graph is damaged"
                );
            }
            for input in node.input.iter().filter(|i| !i.is_empty()) {
                let known = self.producers.get(input.as_str()).is_none_or(|p| !std::ptr::eq(*p, node));
                ensure!(known, "node {:?} reads its own output: the graph is damaged", node.name);
            }
            let op = node.op_type.as_str();
            let relevant = match op {
                "Shape" | "Size" => &[],
                // Further inputs say where to or into which type.
                _ if MOVES.contains(&op) => &node.input[..node.input.len().min(1)],
                _ => &node.input[..],
            };
            let carries = relevant.iter().any(|i| self.data.contains(i.as_str()));
            if carries {
                self.data.extend(node.output.iter().map(String::as_str));
            }
        }
        let mut made: HashSet<&str> = HashSet::new();
        for node in &self.proto.node {
            for input in &node.input {
                ensure!(
                    !self.producers.contains_key(input.as_str()) || made.contains(input.as_str()),
                    "node {:?} reads {input:?} before it is made: the nodes are not sorted",
                    node.name
                );
            }
            made.extend(node.output.iter().map(String::as_str));
        }
        Ok(())
    }

    /// The value that holds start logits: the output of that name, else the first.
    pub(super) fn start_logits(&self) -> anyhow::Result<&'a str> {
        let named = self.proto.output.iter().find(|o| o.name.contains("start"));
        let output = named.or(self.proto.output.first()).context("the graph has no output")?;
        Ok(&output.name)
    }

    /// The node that makes `value`; `None` for graph inputs and initializers.
    pub(super) fn producer(&self, value: &str) -> Option<&'a NodeProto> {
        self.producers.get(value).copied()
    }

    /// Whether `value` depends on the values of token ids or token types.
    pub(super) fn is_data(&self, value: &str) -> bool {
        self.data.contains(value)
    }

    /// `node`'s inputs that depend on the values of the tokens.
    pub(super) fn data_inputs(&self, node: &'a NodeProto) -> Vec<&'a str> {
        node.input.iter().map(String::as_str).filter(|i| self.is_data(i)).collect()
    }

    /// `value` as an `f32` tensor, if it is a floating-point constant: an initializer or constant, possibly behind operators
    /// that only move, reshape or convert it.
    pub(super) fn constant(&self, value: &str) -> anyhow::Result<Option<Rc<Tensor>>> {
        if let Some(known) = self.constants.borrow().get(value) {
            return Ok(known.clone());
        }
        let constant = self.evaluate(value).with_context(|| format!("constant {value:?}"))?.map(Rc::new);
        self.constants.borrow_mut().insert(value.to_owned(), constant.clone());
        Ok(constant)
    }

    /// Follows the operators back to the constant, then applies the transpositions among them in their order.
    fn evaluate(&self, value: &str) -> anyhow::Result<Option<Tensor>> {
        let (mut source, mut transpositions) = (value, Vec::new());
        let mut tensor = loop {
            if let Some(proto) = self.initializers.get(source) {
                break self.load(proto)?;
            }
            let Some(node) = self.producer(source) else { return Ok(None) };
            match node.op_type.as_str() {
                "Constant" => break self.constant_node(node)?,
                "Transpose" => transpositions.push(node),
                // Axes of length 1 come and go at the front; the elements and their order stay.
                "Identity" | "Cast" | "CastLike" | "Unsqueeze" | "Squeeze" => {}
                _ => return Ok(None),
            }
            let Some(input) = node.input.first() else { return Ok(None) };
            source = input;
        };
        for node in transpositions.into_iter().rev() {
            let Some(input) = tensor else { break };
            tensor = Some(transposed(input, node)?);
        }
        Ok(tensor)
    }

    fn constant_node(&self, node: &NodeProto) -> anyhow::Result<Option<Tensor>> {
        if let Some(proto) = attribute(node, "value").and_then(|a| a.t.as_ref()) {
            return self.load(proto);
        }
        if let Some(value) = attribute(node, "value_float") {
            return Ok(Some(tensor0(value.f)));
        }
        Ok(attribute(node, "value_floats").map(|a| tensor1(&a.floats)))
    }

    fn load(&self, proto: &TensorProto) -> anyhow::Result<Option<Tensor>> {
        use tract_onnx::pb::tensor_proto::DataType;
        let float = [DataType::Float, DataType::Float16, DataType::Double];
        if !float.iter().any(|t| *t as i32 == proto.data_type) {
            return Ok(None);
        }
        let onnx = tract_onnx::onnx();
        let tensor = tract_onnx::tensor::load_tensor(&*onnx.provider, proto, None)?;
        Ok(Some(tensor.cast_to::<f32>()?.into_owned()))
    }
}

fn transposed(tensor: Tensor, node: &NodeProto) -> anyhow::Result<Tensor> {
    let axes: Vec<usize> = match attribute(node, "perm") {
        Some(perm) => perm.ints.iter().filter_map(|&i| usize::try_from(i).ok()).collect(),
        None => (0..tensor.rank()).rev().collect(),
    };
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    ensure!(sorted.iter().copied().eq(0..tensor.rank()), "Transpose of {:?} by {axes:?}", tensor.shape());
    tensor.permute_axes(&axes)
}

/// The attribute of that name.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n tract_onnx::pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// The values of a constant.
pub(super) fn values(tensor: &Tensor) -> anyhow::Result<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// Shape without axes of length 1 in front of the last `keep` axes.
pub(super) fn trimmed_shape(tensor: &Tensor, keep: usize) -> anyhow::Result<&[usize]> {
    let shape = tensor.shape();
    let extra = shape.len().saturating_sub(keep);
    if shape[..extra].iter().any(|&d| d != 1) {
        bail!("a constant of shape {shape:?} where one of {keep} dimensions is expected");
    }
    Ok(&shape[extra..])
}

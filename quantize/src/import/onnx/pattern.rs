//! Linear layers, LayerNorms and GELU in the forms that exporters write them.

use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::Tensor;

use super::graph::{Graph, MOVES, attribute, trimmed_shape, values};
use crate::checkpoint::{Dense, Matrix, Norm};

/// A linear layer in the graph.
pub(super) struct LinearAt<'a> {
    /// The value it reads.
    pub input: &'a str,
    weight: Rc<Tensor>,
    /// Whether the constant is `[out, in]`; else it is `[in, out]`.
    out_major: bool,
    bias: Option<Rc<Tensor>>,
}

impl LinearAt<'_> {
    pub(super) fn dense(&self) -> anyhow::Result<Dense> {
        let shape = trimmed_shape(&self.weight, 2)?;
        let data = values(&self.weight)?;
        let weight = if self.out_major {
            Matrix { rows: shape[0], cols: shape[1], data: data.to_vec() }
        } else {
            transpose(shape[0], shape[1], data)
        };
        let bias = match &self.bias {
            Some(bias) => values(bias)?.to_vec(),
            None => vec![0.0; weight.rows],
        };
        Ok(Dense { weight, bias })
    }

    /// Whether both apply the same weight constant.
    pub(super) fn same_weight(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.weight, &other.weight) || self.weight == other.weight
    }
}

fn transpose(rows: usize, cols: usize, data: &[f32]) -> Matrix {
    let mut out = Vec::with_capacity(data.len());
    for c in 0..cols {
        out.extend((0..rows).map(|r| data[r * cols + c]));
    }
    Matrix { rows: cols, cols: rows, data: out }
}

/// A LayerNorm in the graph.
pub(super) struct NormAt<'a> {
    /// The value it reads.
    pub input: &'a str,
    weight: Rc<Tensor>,
    bias: Rc<Tensor>,
}

impl NormAt<'_> {
    pub(super) fn norm(&self) -> anyhow::Result<Norm> {
        Ok(Norm { weight: values(&self.weight)?.to_vec(), bias: values(&self.bias)?.to_vec() })
    }
}

impl<'a> Graph<'a> {
    /// The input behind `value` if the node that makes it only moves data, scales them by something that does not depend on
    /// the tokens, or masks them.
    pub(super) fn step(&self, value: &str) -> Option<&'a str> {
        let node = self.producer(value)?;
        let op = node.op_type.as_str();
        if MOVES.contains(&op) {
            return node.input.first().map(String::as_str);
        }
        if matches!(op, "Mul" | "Div" | "Where") {
            let data = self.data_inputs(node);
            if let [only] = data[..]
                && (op != "Div" || node.input.first().is_some_and(|i| i == only))
            {
                return Some(only);
            }
        }
        None
    }

    /// Follows [`Graph::step`] until `stop` finds something.
    fn find<T>(
        &self,
        value: &'a str,
        mut stop: impl FnMut(&'a str) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let mut value = value;
        loop {
            if let Some(found) = stop(value)? {
                return Ok(Some(found));
            }
            let Some(next) = self.step(value) else { return Ok(None) };
            value = next;
        }
    }

    /// The linear layer whose output reaches `value` through moves and scaling.
    pub(super) fn linear_behind(&self, value: &'a str) -> anyhow::Result<Option<LinearAt<'a>>> {
        self.find(value, |v| self.linear_at(v))
    }

    /// The LayerNorm whose output reaches `value` through moves and masking.
    pub(super) fn norm_behind(&self, value: &'a str) -> anyhow::Result<Option<NormAt<'a>>> {
        self.find(value, |v| self.norm_at(v))
    }

    /// The node of operator `op` whose output reaches `value` through moves and scaling.
    pub(super) fn node_behind(&self, value: &'a str, op: &str) -> Option<&'a NodeProto> {
        self.find(value, |v| Ok(self.producer(v).filter(|n| n.op_type == op))).ok().flatten()
    }

    /// The constant that reaches `value` through moves.
    pub(super) fn constant_behind(&self, value: &'a str) -> anyhow::Result<Option<Rc<Tensor>>> {
        self.find(value, |v| self.constant(v))
    }

    /// A linear layer whose output is exactly `value`: `MatMul`, `MatMul` + `Add` in either order, or `Gemm`.
    fn linear_at(&self, value: &'a str) -> anyhow::Result<Option<LinearAt<'a>>> {
        let Some(node) = self.producer(value) else { return Ok(None) };
        match (node.op_type.as_str(), &node.input[..]) {
            ("MatMul", [input, weight]) => {
                let Some(weight) = self.constant(weight)?.filter(|w| w.rank() == 2) else { return Ok(None) };
                Ok(Some(LinearAt { input, weight, out_major: false, bias: None }))
            }
            ("Gemm", [input, weight, rest @ ..]) => {
                let Some(weight) = self.constant(weight)?.filter(|w| w.rank() == 2) else { return Ok(None) };
                let float = |name| attribute(node, name).map_or(1.0, |a| a.f);
                let flag = |name| attribute(node, name).is_some_and(|a| a.i != 0);
                ensure!(
                    float("alpha") == 1.0 && float("beta") == 1.0 && !flag("transA"),
                    "node {:?} is a Gemm with alpha, beta or transA",
                    node.name
                );
                let bias = rest.first().map(|b| self.constant(b)).transpose()?.flatten();
                Ok(Some(LinearAt { input, weight, out_major: flag("transB"), bias }))
            }
            ("Add", [a, b]) => {
                for (product, bias) in [(a, b), (b, a)] {
                    let Some(bias) = self.constant(bias)? else { continue };
                    let matmul = self.find(product, |v| {
                        let is_product = self.producer(v).is_some_and(|n| n.op_type == "MatMul");
                        if is_product { self.linear_at(v) } else { Ok(None) }
                    })?;
                    if let Some(linear) = matmul
                        && trimmed_shape(&bias, 1).is_ok_and(|s| s.first() == linear.weight.shape().last())
                    {
                        return Ok(Some(LinearAt { bias: Some(bias), ..linear }));
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// A LayerNorm whose output is exactly `value`: the operator, or `(x - mean) / deviation * weight + bias`.
    fn norm_at(&self, value: &'a str) -> anyhow::Result<Option<NormAt<'a>>> {
        let Some(node) = self.producer(value) else { return Ok(None) };
        match (node.op_type.as_str(), &node.input[..]) {
            ("LayerNormalization", [input, weight, bias]) => {
                let (Some(weight), Some(bias)) = (self.constant(weight)?, self.constant(bias)?) else {
                    bail!("node {:?}: the scale or bias of the LayerNorm is not constant", node.name);
                };
                Ok(Some(NormAt { input, weight, bias }))
            }
            ("Add", _) => {
                let Some((product, bias)) = self.with_vector(node)? else { return Ok(None) };
                let Some(product) = self.producer(product).filter(|n| n.op_type == "Mul") else { return Ok(None) };
                let Some((ratio, weight)) = self.with_vector(product)? else { return Ok(None) };
                let Some(ratio) = self.producer(ratio).filter(|n| n.op_type == "Div") else { return Ok(None) };
                let Some(numerator) = ratio.input.first().and_then(|n| self.node_behind(n, "Sub")) else {
                    return Ok(None);
                };
                let Some(input) = numerator.input.first() else { return Ok(None) };
                Ok(Some(NormAt { input, weight, bias }))
            }
            _ => Ok(None),
        }
    }

    /// The inputs of a binary node as (other, constant vector), in either order.
    fn with_vector(&self, node: &'a NodeProto) -> anyhow::Result<Option<(&'a str, Rc<Tensor>)>> {
        let [a, b] = &node.input[..] else { return Ok(None) };
        for (other, constant) in [(a, b), (b, a)] {
            if let Some(constant) = self.constant(constant)?.filter(|c| c.len() > 1 && trimmed_shape(c, 1).is_ok()) {
                return Ok(Some((other, constant)));
            }
        }
        Ok(None)
    }

    /// The linear layer whose output goes through GELU (erf) to make `value`.
    pub(super) fn linear_before_gelu(&self, value: &'a str) -> anyhow::Result<LinearAt<'a>> {
        let (mut has_erf, mut linear) = (false, None);
        let mut seen = std::collections::HashSet::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if !seen.insert(value) {
                continue;
            }
            if let Some(found) = self.linear_at(value)? {
                linear = Some(found);
                continue;
            }
            let Some(node) = self.producer(value) else { continue };
            match node.op_type.as_str() {
                "Gelu" => {
                    let exact = attribute(node, "approximate").is_none_or(|a| a.s == b"none");
                    ensure!(exact, "node {:?}: the tanh approximation of GELU is not supported", node.name);
                    has_erf = true;
                }
                "Erf" => has_erf = true,
                op if MOVES.contains(&op) || matches!(op, "Mul" | "Div" | "Add") => {}
                op => bail!("node {:?} ({op}) where GELU (erf) is expected", node.name),
            }
            stack.extend(self.data_inputs(node));
        }
        ensure!(has_erf, "no GELU (erf) before {value:?}");
        linear.with_context(|| format!("no linear layer before the GELU at {value:?}"))
    }
}

//! Graphs that no exporter writes: each converts rightly or is refused, in bounded time and without a panic.

use edgeqa_quantize::convert::{Input, Options, convert};
use edgeqa_quantize::import::onnx;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

use crate::common::fixtures;

/// Converts the base graph after `change`; returns the checksum of the data, or the error.
fn converted(change: impl FnOnce(&mut GraphProto)) -> Result<String, String> {
    converted_with(&[], change)
}

/// As [`converted`], with these bytes in a file `data` beside the graph.
fn converted_with(data: &[u8], change: impl FnOnce(&mut GraphProto)) -> Result<String, String> {
    let temp = tempfile::tempdir().expect("temporary folder");
    std::fs::write(temp.path().join("data"), data).expect("write");
    let source = fixtures().join("ts4-op17");
    let mut model: ModelProto = onnx::read(&source.join("model.onnx")).expect("a graph").proto;
    change(model.graph.as_mut().expect("a graph"));
    let path = temp.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("write");
    let input = Input::local(&path, Some(source.join("config.json")), Some(fixtures().join("tokenizer.json")));
    let out = temp.path().join("out.safetensors");
    convert(&input.expect("input"), &out, &Options::default(), |_, _, _| {})
        .map(|summary| summary.data_sha256)
        .map_err(|error| format!("{error:#}"))
}

fn unchanged() -> String {
    converted(|_| {}).expect("the base graph converts")
}

fn refused(words: &str, change: impl FnOnce(&mut GraphProto)) {
    let error = converted(change).expect_err(words);
    assert!(error.contains(words), "{words:?} is missing in {error}");
}

fn node(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    let input = inputs.iter().filter(|i| !i.is_empty()).map(|i| (*i).to_owned()).collect();
    NodeProto { op_type: op.into(), name: output.into(), input, output: vec![output.into()], ..NodeProto::default() }
}

fn float(name: &str, dims: Vec<i64>, values: Vec<f32>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims,
        data_type: DataType::Float as i32,
        float_data: values,
        ..TensorProto::default()
    }
}

/// The tensor that the node `op` before the start logits reads as its weight, and the position of that node.
fn matmul_of_head(graph: &GraphProto) -> (usize, String) {
    let at = graph.node.iter().rposition(|n| n.op_type == "MatMul").expect("the classifier");
    (at, graph.node[at].input[1].clone())
}

#[test]
fn names_and_order_of_operands_do_not_matter() {
    let want = unchanged();
    let renamed = converted(|graph| {
        let names: Vec<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
        for (i, name) in names.iter().enumerate() {
            graph.initializer[i].name = format!("t{i}");
            for input in graph.node.iter_mut().flat_map(|n| &mut n.input).filter(|input| *input == name) {
                *input = format!("t{i}");
            }
        }
    });
    assert_eq!(renamed, Ok(want.clone()));
    let swapped = converted(|graph| {
        graph.node.iter_mut().filter(|n| n.op_type == "Add").for_each(|n| n.input.reverse());
    });
    assert_eq!(swapped, Ok(want));
}

/// As graphs of IR version 3 do.
#[test]
fn initializers_may_be_listed_among_the_inputs() {
    let want = unchanged();
    let listed = converted(|graph| {
        let inputs = graph.initializer.iter().map(|tensor| {
            let dim = |size: &i64| Dimension { value: Some(Value::DimValue(*size)), ..Dimension::default() };
            let shape = Some(TensorShapeProto { dim: tensor.dims.iter().map(dim).collect() });
            let value = type_proto::Value::TensorType(type_proto::Tensor { elem_type: tensor.data_type, shape });
            let r#type = Some(TypeProto { value: Some(value), ..TypeProto::default() });
            ValueInfoProto { name: tensor.name.clone(), r#type, ..ValueInfoProto::default() }
        });
        graph.input.splice(0..0, inputs.collect::<Vec<_>>());
    });
    assert_eq!(listed, Ok(want));
}

#[test]
fn folded_positions_are_told_as_such() {
    let at = |graph: &GraphProto| graph.node.iter().position(|node| node.op_type == "Gather").expect("the words");
    refused("of shape [1, 20, 32] instead of rows of a table", |graph| {
        let words = at(graph);
        let sum = std::mem::replace(&mut graph.node[words].output[0], "words".into());
        graph.initializer.push(float("folded", vec![1, 20, 32], vec![0.5; 20 * 32]));
        graph.node.insert(words + 1, node("Add", ["words", "folded"], &sum));
    });
    // Two tables that are read whatever the tokens are.
    refused("of 64 and of 64 rows, are for token types, with position_biased_input false", |graph| {
        let words = at(graph);
        let sum = std::mem::replace(&mut graph.node[words].output[0], "words".into());
        graph.initializer.push(float("table", vec![64, 32], vec![0.5; 64 * 32]));
        let (data_type, int64_data) = (DataType::Int64 as i32, (0..20).collect());
        graph.initializer.push(TensorProto {
            name: "index".into(),
            dims: vec![20],
            data_type,
            int64_data,
            ..TensorProto::default()
        });
        let mut nodes = vec![node("Gather", ["table", "index"], "a"), node("Gather", ["table", "index"], "b")];
        nodes.extend([node("Add", ["a", "b"], "both"), node("Add", ["words", "both"], &sum)]);
        graph.node.splice(words + 1..words + 1, nodes);
    });
}

#[test]
fn inputs_are_told_by_their_names() {
    let want = unchanged();
    let renamed = |names: [&'static str; 2]| {
        move |graph: &mut GraphProto| {
            for (input, name) in graph.input.iter_mut().zip(names) {
                let read = graph.node.iter_mut().flat_map(|n| &mut n.input).filter(|read| **read == input.name);
                read.for_each(|read| *read = name.into());
                input.name = name.into();
            }
        }
    };
    assert_eq!(converted(renamed(["ids", "padding_mask"])), Ok(want));
    for names in [["ids", "att"], ["x", "mask"], ["ids", "input_2"], ["type_ids", "mask"]] {
        let inputs = format!("model.onnx is not supported: the inputs of the graph are {names:?}, but");
        refused(&inputs, renamed(names));
    }
}

/// Leaves a graph whose weight of the classifier is made by a node instead of an initializer, and returns that tensor.
fn constant_of_head(graph: &mut GraphProto) -> &mut TensorProto {
    let (_, weight) = matmul_of_head(graph);
    let at = graph.initializer.iter().position(|tensor| tensor.name == weight).expect("the weight");
    let value = graph.initializer.remove(at);
    let attribute = AttributeProto {
        name: "value".into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(TensorProto { name: String::new(), ..value }),
        ..AttributeProto::default()
    };
    graph.node.insert(0, NodeProto { attribute: vec![attribute], ..node("Constant", ["", ""], &weight) });
    graph.node[0].attribute[0].t.as_mut().expect("a tensor")
}

#[test]
fn constants_of_nodes_may_have_external_data() {
    let want = unchanged();
    let mut values = Vec::new();
    converted(|graph| values = constant_of_head(graph).raw_data.clone()).expect("a constant");
    let moved = |graph: &mut GraphProto| {
        let tensor = constant_of_head(graph);
        tensor.raw_data.clear();
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![StringStringEntryProto { key: "location".into(), value: "data".into() }];
    };
    assert_eq!(converted_with(&values, moved), Ok(want));
    let error = converted_with(&values[1..], moved).expect_err("too few bytes");
    assert!(error.contains("external data of \"") && error.contains("too few"), "{error}");
}

#[test]
fn bfloat16_is_read_as_the_values_that_it_has() {
    // The upper half of f32.
    let head = |change: fn(&mut TensorProto, &[u8])| {
        move |graph: &mut GraphProto| {
            let (at, weight) = matmul_of_head(graph);
            let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == weight).expect("the weight");
            let halves: Vec<u8> = tensor.raw_data.chunks_exact(4).flat_map(|value| [value[2], value[3]]).collect();
            change(tensor, &halves);
            if tensor.data_type == DataType::Bfloat16 as i32 {
                let mut cast = node("Cast", [&weight, ""], "widened");
                cast.attribute = vec![AttributeProto {
                    name: "to".into(),
                    r#type: AttributeType::Int as i32,
                    i: DataType::Float as i64,
                    ..AttributeProto::default()
                }];
                graph.node[at].input[1] = "widened".into();
                graph.node.insert(at, cast);
            }
        }
    };
    let widened = converted(head(|tensor, halves| {
        tensor.raw_data = halves.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
    }));
    let bytes = converted(head(|tensor, halves| {
        (tensor.data_type, tensor.raw_data) = (DataType::Bfloat16 as i32, halves.to_vec());
    }));
    let integers = converted(head(|tensor, halves| {
        let bits = halves.chunks_exact(2).map(|half| i32::from(u16::from_le_bytes([half[0], half[1]])));
        (tensor.data_type, tensor.int32_data) = (DataType::Bfloat16 as i32, bits.collect());
        tensor.raw_data.clear();
    }));
    assert!(widened.is_ok(), "{widened:?}");
    assert_eq!([bytes, integers], [widened.clone(), widened]);
}

#[test]
fn constant_logits_prove_nothing() {
    refused("nothing can be proven", |graph| {
        let (_, weight) = matmul_of_head(graph);
        let tensor = graph.initializer.iter_mut().find(|t| t.name == weight).expect("the weight");
        *tensor = float(&weight, vec![32, 2], vec![0.0; 64]);
        let bias = graph.initializer.iter_mut().find(|t| t.name.starts_with("qa_outputs")).expect("the bias");
        *bias = float(&bias.name.clone(), vec![2], vec![0.0; 2]);
    });
}

#[test]
fn swapped_outputs_are_refused() {
    refused("named the wrong way round", |graph| {
        for output in graph.node.iter_mut().flat_map(|n| &mut n.output) {
            *output = match output.as_str() {
                "start_logits" => "end_logits".into(),
                "end_logits" => "start_logits".into(),
                _ => continue,
            };
        }
    });
}

#[test]
fn a_chain_of_doubled_sums_ends() {
    refused("added twice to the embeddings", |graph| {
        let at = graph.node.iter().position(|n| n.op_type == "LayerNormalization").expect("the embedding norm");
        let words = graph.node[at].input[0].clone();
        let mut last = words;
        for i in 0..60 {
            let next = format!("double{i}");
            graph.node.insert(at + i, node("Add", [&last, &last], &next));
            last = next;
        }
        graph.node[at + 60].input[0] = last;
    });
}

#[test]
fn a_long_chain_before_a_weight_ends() {
    let want = unchanged();
    let graph = |graph: &mut GraphProto| {
        let (_, weight) = matmul_of_head(graph);
        let mut chain = Vec::new();
        let mut last = weight.clone();
        for i in 0..20_000 {
            let next = format!("same{i}");
            chain.push(node("Identity", [&last, ""], &next));
            last = next;
        }
        let at = graph.node.iter().rposition(|n| n.op_type == "MatMul").expect("the classifier");
        graph.node[at].input[1] = last;
        graph.node.splice(0..0, chain);
    };
    // Whether tract can run so long a chain is its own affair; the import must not overflow the stack.
    match converted(graph) {
        Ok(sum) => assert_eq!(sum, want),
        Err(error) => assert!(error.contains("tract"), "{error}"),
    }
}

#[test]
fn absurd_shapes_of_inputs_are_refused() {
    let declare = |axis: usize, size: i64| {
        move |graph: &mut GraphProto| {
            for input in &mut graph.input {
                let Some(type_proto::Value::TensorType(t)) = input.r#type.as_mut().and_then(|t| t.value.as_mut())
                else {
                    continue;
                };
                t.shape.as_mut().expect("a shape").dim[axis].value = Some(Value::DimValue(size));
            }
        }
    };
    refused("exported for exactly 1099511627776 tokens", declare(1, 1 << 40));
    refused("exported for exactly 65 tokens", declare(1, 65));
    refused("exported for batches of", declare(0, 1 << 62));
    assert_eq!(converted(declare(0, 2)), Ok(unchanged()));
}

/// tract would count from 0 to such an axis, negative ones without an end.
#[test]
fn absurd_axes_are_refused() {
    for axis in [i64::MIN, -(1 << 49) - 1, -65, -64, -33, -5, -4, -2, 64, i64::MAX] {
        refused(&format!("is a LayerNormalization along axis {axis}: the file is damaged"), |graph| {
            let norm = graph.node.iter_mut().find(|n| n.op_type == "LayerNormalization").expect("a LayerNorm");
            axis_of(norm).i = axis;
        });
    }
    // Others may be counted from the back, and a graph may be inside of a node.
    for axis in [-65, 64] {
        let softmax = |graph: &mut GraphProto| {
            axis_of(graph.node.iter_mut().find(|n| n.op_type == "Softmax").expect("a softmax")).i = axis;
        };
        refused(&format!("is a Softmax along axis {axis}: the file is damaged"), softmax);
        refused(&format!("is a Softmax along axis {axis}: the file is damaged"), |graph| {
            let mut inner = graph.clone();
            softmax(&mut inner);
            let branch = AttributeProto { name: "then_branch".into(), g: Some(inner), ..AttributeProto::default() };
            graph.node[0].attribute.push(branch);
        });
    }
}

/// tract would turn such an order into operators without an end.
#[test]
fn orders_that_lack_an_axis_are_refused() {
    for order in [&[1, 2, 1, 3][..], &[0, 1, 2, 4], &[-1, 0, 1, 2], &[0; 65]] {
        refused(&format!("is a Transpose by {order:?}: the file is damaged"), |graph| {
            let transpose = graph.node.iter_mut().find(|n| n.op_type == "Transpose").expect("a Transpose");
            transpose.attribute.iter_mut().find(|attribute| attribute.name == "perm").expect("an order").ints =
                order.to_vec();
        });
    }
}

fn axis_of(node: &mut NodeProto) -> &mut AttributeProto {
    node.attribute.iter_mut().find(|attribute| attribute.name == "axis").expect("an axis")
}

#[test]
fn missing_and_unsorted_nodes_are_refused() {
    refused("cannot import", |graph| {
        let at = graph.node.iter().position(|n| n.op_type == "Softmax").expect("a softmax");
        graph.node.remove(at);
    });
    refused("not sorted", |graph| graph.node.reverse());
    refused("no output", |graph| graph.output.clear());
}

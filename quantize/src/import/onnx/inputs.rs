//! What a graph is fed with, told by the names of its inputs.

use std::collections::HashSet;

use anyhow::bail;
use tract_onnx::pb::{GraphProto, ValueInfoProto};

/// What an input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ids,
    Mask,
    Types,
}

impl Role {
    /// The role of the input `name`, if that tells one.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match name {
            _ if has(&["mask"]) => Some(Self::Mask),
            _ if has(&["type", "segment"]) => Some(Self::Types),
            _ if has(&["input", "ids"]) => Some(Self::Ids),
            _ => None,
        }
    }
}

/// The inputs that have no value of their own, in order. Graphs of IR version 3 list their initializers among the inputs.
pub(crate) fn fed(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let initializers: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.iter().filter(move |input| !initializers.contains(input.name.as_str()))
}

/// The roles of the inputs that are [`fed`].
///
/// # Errors
/// If a name tells no role, or not exactly one is that of token ids; the message has all names and the rule.
pub(crate) fn roles(graph: &GraphProto) -> anyhow::Result<Vec<Role>> {
    let names: Vec<&str> = fed(graph).map(|input| input.name.as_str()).collect();
    let roles: Option<Vec<Role>> = names.iter().map(|name| Role::of(name)).collect();
    match roles {
        Some(roles) if roles.iter().filter(|role| **role == Role::Ids).count() == 1 => Ok(roles),
        _ => bail!(
            "the inputs of the graph are {names:?}, but their names must tell what they are: one with \"input\" or \"ids\" in it for the \
             token ids, and others only with \"mask\", or with \"type\" or \"segment\"; export it with the names input_ids, \
             attention_mask and token_type_ids"
        ),
    }
}

//! Linear layers of a file: their forms compute the same, and what is wrong with one is named.

use edgeqa::artifact::write::{TensorData, write};
use edgeqa::artifact::{Artifact, ArtifactError, schema};
use edgeqa::kernels::layout::PackedShape;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::ops::{Int8Linear, LinearWeights};
use half::f16;

use crate::common;
use crate::common::metadata;

/// `input_factor` multiplies a layer's inputs before they are quantised; with factors of 2 and weight scales halved, not a
/// single bit of the logits may change.
#[test]
fn input_factors_move_scale_from_weights_to_inputs() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let config = metadata().config;
    let logits = |change: &dyn Fn(&mut TensorData)| {
        let mut data = common::tensors(&config);
        change(&mut data);
        let path = temp.path().join("x");
        write(&path, &metadata(), &data).expect("written").publish().expect("renamed");
        let weights = ModelWeights::from_artifact(&Artifact::open(&path).expect("opens")).expect("weights");
        Session::new(&weights).expect("builds").logits(&[2, 50, 3, 100, 7, 3], None).expect("logits")
    };
    let floats = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let plain = logits(&|_| {});
    let factored = |scale_by: f32| {
        logits(&|data| {
            for spec in (0..config.num_layers).flat_map(|layer| schema::linears(&config, layer)) {
                let scale = data.get_mut(&format!("{}.scale", spec.name)).expect("a scale");
                let values = scale.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) * scale_by);
                *scale = floats(&mut values.collect::<Vec<_>>().into_iter());
                let factor = floats(&mut std::iter::repeat_n(2.0, spec.shape.k));
                data.insert(format!("{}.input_factor", spec.name), factor);
            }
        })
    };
    assert_eq!(factored(0.5), plain);
    assert_ne!(factored(1.0), plain, "the factor has no effect");
}

/// Stores a linear layer of a made-up model in half precision, with the same values as in int8.
fn to_half(data: &mut TensorData, spec: &schema::LinearSpec) {
    let PackedShape { n, k } = spec.shape;
    let packed = data.insert(format!("{}.weight", spec.name), Vec::new()).expect("there");
    let values = (0..n * k).map(|i| f16::from_f32(f32::from(packed[spec.shape.index(i / k, i % k)] as i8)));
    data.insert(format!("{}.weight", spec.name), values.flat_map(f16::to_le_bytes).collect());
    for vector in ["scale", "bias"] {
        data.get_mut(&format!("{}.{vector}", spec.name)).expect("there").truncate(4 * n);
    }
    data.remove(&format!("{}.column_sum", spec.name));
}

#[test]
fn linear_layers_in_half_precision_compute_what_they_would_in_fp32() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let path = temp.path().join("x");
    let config = metadata().config;
    let specs: Vec<_> = (0..config.num_layers).flat_map(|layer| schema::linears(&config, layer)).collect();
    let plain = common::tensors(&config);
    let open = |data: &TensorData| {
        write(&path, &metadata(), data).expect("written").publish().expect("renamed");
        let artifact = Artifact::open(&path).expect("opens");
        artifact.verify().expect("sound");
        artifact
    };
    let logits = |weights: &ModelWeights| {
        let logits = Session::new(weights).expect("builds").logits(&[2, 50, 3, 100, 7, 3], None).expect("logits");
        [logits.start, logits.end].concat()
    };
    let int8 = ModelWeights::from_artifact(&open(&plain)).expect("weights");
    for (i, spec) in specs.iter().enumerate() {
        let mut data = plain.clone();
        to_half(&mut data, spec);
        let artifact = open(&data);
        assert_eq!(artifact.precision(&spec.name), schema::Precision::F16);
        let got = logits(&ModelWeights::from_artifact(&artifact).expect("weights"));
        // The same layer in fp32, with the values that int8 stands for.
        let mut weights = int8.clone();
        let layer = &mut weights.layers[i / 4];
        let slots = [&mut layer.qkv, &mut layer.attention_output, &mut layer.ffn_in, &mut layer.ffn_out];
        let slot = slots.into_iter().nth(i % 4).expect("four layers");
        let LinearWeights::Int8(Int8Linear { shape, packed, scales, bias, .. }) = &*slot else {
            panic!("{} is not int8", spec.name)
        };
        let PackedShape { n, k } = *shape;
        let value = |i: usize| f32::from(packed[shape.index(i / k, i % k)]) * scales[i / k];
        let (weight, bias) = ((0..n * k).map(value).collect::<Vec<_>>().into(), bias[..n].to_vec().into());
        *slot = LinearWeights::F32 { shape: *shape, weight, bias };
        let want = logits(&weights);
        assert_ne!(want, logits(&int8), "{}: its inputs are not quantised any more", spec.name);
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-3, "{}: {got} {want}", spec.name);
        }
    }
    let mut all = plain.clone();
    for spec in &specs {
        to_half(&mut all, spec);
    }
    logits(&ModelWeights::from_artifact(&open(&all)).expect("weights"));
    // Every fault of a half-precision layer is named.
    let name = &specs[1].name;
    let weight = format!("{name}.weight");
    let mut infinite = all.clone();
    infinite.get_mut(&weight).expect("there")[6..8].copy_from_slice(&f16::INFINITY.to_le_bytes());
    write(&path, &metadata(), &infinite).expect("written").publish().expect("renamed");
    let error = Artifact::open(&path).expect("opens").verify().expect_err("refused");
    assert!(matches!(&error, ArtifactError::NonFinite { tensor, index: 3, .. } if *tensor == weight), "{error}");
    let mut short = all.clone();
    short.get_mut(&format!("{name}.bias")).expect("there").truncate(4);
    let error = write(&path, &metadata(), &short).expect_err("refused");
    assert!(matches!(&error, ArtifactError::Shape { tensor, .. } if *tensor == format!("{name}.bias")), "{error}");
    let mut mixed = all;
    mixed.insert(format!("{name}.column_sum"), vec![0; 4 * specs[1].shape.padded_n()]);
    write(&path, &metadata(), &mixed).expect_err("refused");
}

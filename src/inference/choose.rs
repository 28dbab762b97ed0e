// SPDX-License-Identifier: MIT OR Apache-2.0

//! Choosing what computes a network, by trying.

use std::sync::Arc;

use ort::{environment::Environment, logging::LogLevel};

use super::{Execution, LoadError, Notice, OrtEngine, Precision, Provider, ProviderError, Tell};
use crate::{
    model::{InputSpec as Task, Model},
    retinaface::detector::{Engine, Input},
};

/// What [`choose`] came to.
pub struct Choice {
    pub engine: OrtEngine,
    /// What the engine runs on.
    pub execution: Execution,
    /// What would have been better but does not serve.
    pub refusals: Vec<ProviderError>,
}

/// An engine on `provider`, or on the best one that works (`None`). A provider works if it gives the
/// CPU's answer. `rest` says everything else, and `task` what is to be done on a provider.
pub fn choose(
    environment: &Environment,
    tell: Tell,
    model: &Arc<Model>,
    task: impl Fn(Provider) -> Task,
    provider: Option<Provider>,
    rest: &Execution,
) -> Result<Choice, LoadError> {
    let load = |execution: &Execution| {
        let task = task(execution.provider);
        OrtEngine::load(environment, tell, model, &task, execution)
    };
    let mut refusals = Vec::new();
    let wanted = match &provider {
        Some(provider) => std::slice::from_ref(provider),
        None => &Provider::ACCELERATORS,
    };
    for &wanted in wanted.iter().filter(|&&provider| provider != Provider::Cpu) {
        let wanted = Execution { provider: wanted, ..rest.clone() };
        let try_on = |execution: &Execution| {
            execution.provider.find()?;
            let mut engine = load(execution)?;
            let (task, cpu) = (task(execution.provider), Execution::cpu(1));
            let mut cpu = OrtEngine::load(environment, tell, model, &task, &cpu)?;
            verify(&mut engine, &mut cpu, execution, tell)?;
            // Where graphs have failed, the engines to come need not try them.
            let cuda_graphs = engine.has_cuda_graphs();
            Ok((engine, Execution { cuda_graphs, ..execution.clone() }))
        };
        let mut chosen = try_on(&wanted);
        if let Err(LoadError::Provider(ProviderError::Wrong { .. })) = chosen
            && wanted.provider.is_gpu()
            && wanted.cuda_graphs
        {
            tell(Notice::Message(LogLevel::Info, "Trying again without CUDA graphs"));
            chosen = try_on(&Execution { cuda_graphs: false, ..wanted.clone() });
        }
        let refusal = match chosen {
            Ok((engine, execution)) => return Ok(Choice { engine, execution, refusals }),
            Err(LoadError::Provider(refusal)) => refusal,
            Err(err) => wanted.refused(&err.to_string()),
        };
        if provider.is_some() {
            return Err(refusal.into());
        }
        let unused = format!("{} is not used: {refusal}", wanted.provider);
        tell(Notice::Message(LogLevel::Info, &unused));
        refusals.push(refusal);
    }
    let precision = match provider {
        Some(_) => rest.precision,
        // A precision that others have is no reason to do without faces.
        None => Precision::Auto,
    };
    let execution = Execution { provider: Provider::Cpu, precision, ..rest.clone() };
    Ok(Choice { engine: load(&execution)?, execution, refusals })
}

/// Whether `engine` answers as `cpu` does, for a picture of stripes and gradients.
fn verify(
    engine: &mut OrtEngine,
    cpu: &mut OrtEngine,
    execution: &Execution,
    tell: Tell,
) -> Result<(), LoadError> {
    for engine in [&mut *engine, &mut *cpu] {
        let sample = |index: usize| (index * 7 % 251) as u8;
        match engine.input(0) {
            Input::Planes(_, planes) => {
                let planes = planes.iter_mut().enumerate();
                planes.for_each(|(index, value)| *value = f32::from(sample(index)) - 125.0);
            }
            Input::Pixels(_, pixels) => {
                let pixels = pixels.iter_mut().enumerate();
                pixels.for_each(|(index, value)| *value = sample(index));
            }
        }
        engine.run().map_err(|err| execution.refused(&err.to_string()))?;
    }
    if !engine.outputs().map(<[f32]>::len).eq(cpu.outputs().map(<[f32]>::len)) {
        return Err(execution.refused("it gives other outputs than the CPU").into());
    }
    for (found, expected) in engine.outputs().zip(cpu.outputs()) {
        let square = |sum: f32, value: f32| sum + value * value;
        let differences = found.iter().zip(expected).map(|(found, expected)| found - expected);
        let size = expected.iter().copied().fold(0.0, square);
        let difference = (differences.fold(0.0, square) / size.max(f32::MIN_POSITIVE)).sqrt();
        let away = format!("{} is {difference} away from the CPU", execution.provider);
        tell(Notice::Message(LogLevel::Info, &away));
        let tolerance = execution.tolerance();
        // Not a number is further away than anything.
        if difference.is_nan() || difference > tolerance {
            let Execution { provider, device, .. } = *execution;
            return Err(ProviderError::Wrong { provider, device, difference, tolerance }.into());
        }
    }
    Ok(())
}

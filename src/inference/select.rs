// SPDX-License-Identifier: MIT OR Apache-2.0

//! Selecting the provider that computes a network, by trying.

use std::{panic, thread};

use ort::logging::LogLevel;

use super::{
    config::{Config, Parallelism, Precision, Request},
    engine::SessionEngine,
    error::{LoadError, ProviderError},
    library::{self, LibraryError},
    loader::Loader,
    provider::Provider,
};
use crate::{
    model::InputSpec,
    native::InstructionSet,
    retinaface::detector::{Engine, Input},
};

/// The input for which native kernels are compared with plain ones.
const SMALL: (u32, u32) = (64, 64);

/// The provider that was selected, at work.
pub struct Selection {
    pub engine: SessionEngine,
    pub config: Config,
    /// What should have worked better and did not: the provider that was asked for, or others.
    pub unexpected: Vec<ProviderError>,
}

impl Loader {
    /// An engine on the provider that is asked for, or on the best one that works. A provider works
    /// if its outputs are what others compute. `spec` says what is loaded on a provider.
    pub fn select(
        &self,
        request: &Request,
        spec: impl Fn(Provider) -> InputSpec,
    ) -> Result<Selection, LoadError> {
        let is_candidate = |provider: &Provider| match request.provider {
            Some(asked_for) => *provider == asked_for,
            // Kernels of our own are faster than its fp32.
            None if *provider == Provider::OpenVino => request.precision == Some(Precision::Bf16),
            None => true,
        };
        // A precision that other providers have is no reason to do without faces.
        let request_for = |provider: Provider| match (request.provider, provider.precisions()) {
            (None, [_]) => Request { precision: None, ..request.clone() },
            _ => request.clone(),
        };
        let without_precision = |provider: Provider| {
            let precision =
                request.precision.filter(|wanted| !provider.precisions().contains(wanted));
            precision.map(|precision| ProviderError::Precision { provider, precision })
        };
        let (mut unexpected, mut last) = (Vec::new(), None);
        let others = Provider::ALL.into_iter().filter(|provider| *provider != Provider::Cpu);
        for provider in others.filter(is_candidate) {
            let refusal = match self.try_on(provider, &request_for(provider), &spec(provider)) {
                Ok((engine, config)) => {
                    unexpected.extend(without_precision(provider));
                    return Ok(Selection { engine, config, unexpected });
                }
                Err(LoadError::Provider(refusal)) => refusal,
                // Others would take as much.
                Err(err @ LoadError::Memory(_)) => return Err(err),
                Err(LoadError::Library(why)) if request.provider.is_some() => {
                    return Err(why.into());
                }
                Err(LoadError::Library(LibraryError::NotFound(_))) => {
                    let library = provider.library().unwrap_or_default().to_owned();
                    ProviderError::Missing { provider, library }
                }
                Err(err) => ProviderError::refused(provider, request.device, &err.to_string()),
            };
            let asked_for = request.provider.is_some();
            if asked_for && !refusal.allows_fallback(asked_for) {
                return Err(refusal.into());
            }
            self.log(LogLevel::Info, &format!("Not using {provider}: {refusal}"));
            last = Some(refusal.to_string());
            unexpected.extend(Some(refusal).filter(|why| asked_for || why.is_unexpected()));
        }
        let config = request_for(Provider::Cpu).resolve(Provider::Cpu)?;
        let engine =
            self.engine(&spec(Provider::Cpu), &config).map_err(|err| match (err, last) {
                (LoadError::Library(source), Some(why)) => LoadError::NeedsLibrary { why, source },
                (err, _) => err,
            })?;
        unexpected.extend(without_precision(Provider::Cpu));
        Ok(Selection { engine, config, unexpected })
    }

    /// An engine on `provider` that was checked.
    fn try_on(
        &self,
        provider: Provider,
        request: &Request,
        spec: &InputSpec,
    ) -> Result<(SessionEngine, Config), LoadError> {
        provider.find()?;
        if provider.capabilities().needs_onnxruntime && provider.has_device() {
            // Its version has a say in the precision.
            self.environment()?;
        }
        let mut config = request.resolve(provider)?;
        if !provider.capabilities().needs_onnxruntime && !library::is_loaded() {
            // At the same time, for the first frame not to wait for both.
            let (engine, checked) = thread::scope(|scope| {
                let checked = scope.spawn(|| self.check_kernels(spec, &config));
                let engine = self.engine(spec, &config);
                (engine, checked.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
            });
            checked?;
            return Ok((engine?, config));
        }
        loop {
            let mut engine = self.engine(spec, &config)?;
            // Where no graph could be captured, the engines to come need not try.
            config.cuda_graphs = engine.has_cuda_graphs();
            let mut cpu = self.engine(spec, &Config::cpu(1))?;
            match self.compare(&mut engine, &mut cpu, &config) {
                Ok(()) => return Ok((engine, config)),
                Err(err @ ProviderError::Wrong { .. }) if config.cuda_graphs => {
                    let retry = format!("Trying again without CUDA graphs: {err}");
                    self.log(LogLevel::Info, &retry);
                    config.cuda_graphs = false;
                }
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// Compares native kernels with plain ones on a small input, where this process does without ONNX
    /// Runtime.
    fn check_kernels(&self, spec: &InputSpec, config: &Config) -> Result<(), LoadError> {
        if !config.instructions.is_vectorised() || !self.model().sizes().contain(SMALL) {
            return Ok(());
        }
        let small = InputSpec { size: SMALL, ..spec.clone() };
        let parallelism = Parallelism { threads: 1, streams: 1 };
        let single = Config { parallelism, ..config.clone() };
        let plain = Config { instructions: InstructionSet::PLAIN, ..single.clone() };
        let mut engine = self.engine(&small, &single)?;
        let mut plain = self.engine(&small, &plain)?;
        Ok(self.compare(&mut engine, &mut plain, config)?)
    }

    /// Whether `engine` gives what `judge` gives for a picture of stripes and gradients.
    fn compare(
        &self,
        engine: &mut SessionEngine,
        judge: &mut SessionEngine,
        config: &Config,
    ) -> Result<(), ProviderError> {
        for engine in [&mut *engine, &mut *judge] {
            let sample = |index: usize| (index * 7 % 251) as u8;
            match engine.input(0) {
                Input::Planes(_, planes) => {
                    let planes = planes.iter_mut().enumerate();
                    planes.for_each(|(index, value)| *value = f32::from(sample(index)) - 125.0);
                }
                Input::Pixels(_, _, pixels) => {
                    let pixels = pixels.iter_mut().enumerate();
                    pixels.for_each(|(index, value)| *value = sample(index));
                }
            }
            engine.run().map_err(|err| config.refused(&err.to_string()))?;
        }
        if !engine.outputs().map(<[f32]>::len).eq(judge.outputs().map(<[f32]>::len)) {
            return Err(config.refused("it has other outputs than the CPU"));
        }
        let Config { provider, device, .. } = *config;
        let tolerance = provider.tolerance(config.precision);
        for (found, expected) in engine.outputs().zip(judge.outputs()) {
            let difference = relative_difference(found, expected);
            let found = format!("Relative difference of {provider} from the CPU: {difference}");
            self.log(LogLevel::Info, &found);
            // Not a number is further away than anything.
            if difference.is_nan() || difference > tolerance {
                return Err(ProviderError::Wrong { provider, device, difference, tolerance });
            }
        }
        Ok(())
    }
}

/// The root of the differences' squares, relative to that of the expected values' squares. What a damaged network
/// makes no number of, or infinite, has to be that in both.
fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    let square = |sum: f32, value: f32| sum + value * value;
    let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
    let pairs = found.iter().copied().zip(expected.iter().copied());
    let differences = pairs.map(|(a, b)| if same(a, b) { 0.0 } else { a - b });
    let size = expected.iter().copied().filter(|value| value.is_finite()).fold(0.0, square);
    (differences.fold(0.0, square) / size.max(f32::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_expected_values() {
        // sqrt((1² + 2²) / (3² + 4² + 10²)) = sqrt(5 / 125) = 0.2
        let difference = relative_difference(&[3.0, 5.0, 8.0], &[3.0, 4.0, 10.0]);
        assert!((difference - 0.2).abs() < 1e-6, "{difference}");
        assert_eq!(relative_difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!(relative_difference(&[f32::NAN, 4.0], &[3.0, 4.0]).is_nan());
        assert!(relative_difference(&[1.0], &[0.0]) > 1.0);
    }

    #[test]
    fn what_is_no_number_in_both_does_not_differ() {
        let expected = [f32::NAN, f32::INFINITY, 3.0, 4.0];
        assert_eq!(relative_difference(&expected, &expected), 0.0);
        // 1 / 5
        let difference = relative_difference(&[f32::NAN, f32::INFINITY, 3.0, 5.0], &expected);
        assert!((difference - 0.2).abs() < 1e-6, "{difference}");
        assert!(relative_difference(&[0.0, f32::INFINITY, 3.0, 4.0], &expected).is_nan());
        let other = relative_difference(&[f32::NAN, f32::NEG_INFINITY, 3.0, 4.0], &expected);
        assert_eq!(other, f32::INFINITY);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Selecting the provider that computes a network, by trying.

use std::slice;

use ort::logging::LogLevel;

use super::{
    config::{Config, Request},
    engine::OrtEngine,
    error::{LoadError, ProviderError},
    loader::Loader,
    provider::Provider,
};
use crate::{
    model::InputSpec,
    retinaface::detector::{Engine, Input},
};

/// The provider that was selected, at work.
pub struct Selection {
    pub engine: OrtEngine,
    pub config: Config,
    /// Better providers that should have worked and did not.
    pub unexpected: Vec<ProviderError>,
}

impl Loader {
    /// An engine on the provider that is asked for, or on the best one that works. A provider works
    /// if its outputs are the CPU's. `spec` says what is loaded on a provider.
    pub fn select(
        &self,
        request: &Request,
        spec: impl Fn(Provider) -> InputSpec,
    ) -> Result<Selection, LoadError> {
        let candidates = match &request.provider {
            Some(provider) => slice::from_ref(provider),
            None => &Provider::ALL,
        };
        let mut unexpected = Vec::new();
        for &provider in candidates.iter().filter(|&&provider| provider != Provider::Cpu) {
            let refusal = match self.try_on(provider, request, &spec(provider)) {
                Ok((engine, config)) => return Ok(Selection { engine, config, unexpected }),
                Err(LoadError::Provider(refusal)) => refusal,
                // Others would take as much.
                Err(err @ LoadError::Memory(_)) => return Err(err),
                Err(err) => ProviderError::refused(provider, request.device, &err.to_string()),
            };
            if request.provider.is_some() {
                return Err(refusal.into());
            }
            self.log(LogLevel::Info, &format!("Not using {provider}: {refusal}"));
            unexpected.extend(Some(refusal).filter(ProviderError::is_unexpected));
        }
        // A precision that other providers have is no reason to do without faces.
        let precision = request.precision.filter(|_| request.provider.is_some());
        let config = Request { precision, ..request.clone() }.resolve(Provider::Cpu)?;
        let engine = self.engine(&spec(Provider::Cpu), &config)?;
        Ok(Selection { engine, config, unexpected })
    }

    /// An engine on `provider` that was compared with the CPU.
    fn try_on(
        &self,
        provider: Provider,
        request: &Request,
        spec: &InputSpec,
    ) -> Result<(OrtEngine, Config), LoadError> {
        provider.find()?;
        let mut config = request.resolve(provider)?;
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

    /// Whether `engine` gives what `cpu` gives for a picture of stripes and gradients.
    fn compare(
        &self,
        engine: &mut OrtEngine,
        cpu: &mut OrtEngine,
        config: &Config,
    ) -> Result<(), ProviderError> {
        for engine in [&mut *engine, &mut *cpu] {
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
        if !engine.outputs().map(<[f32]>::len).eq(cpu.outputs().map(<[f32]>::len)) {
            return Err(config.refused("it has other outputs than the CPU"));
        }
        let Config { provider, device, .. } = *config;
        let tolerance = provider.tolerance(config.precision);
        for (found, expected) in engine.outputs().zip(cpu.outputs()) {
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

/// The root of the differences' squares, relative to that of the expected values' squares.
fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    let square = |sum: f32, value: f32| sum + value * value;
    let differences = found.iter().zip(expected).map(|(found, expected)| found - expected);
    let size = expected.iter().copied().fold(0.0, square);
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
}

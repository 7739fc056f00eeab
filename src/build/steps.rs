//! Builds a Dockerfile with `RUN` instructions part by part: the engine executes the other instructions, and Slipway's
//! containers the `RUN`s.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerConfig, ImageConfig, ImageInspect};
use bollard::query_parameters::CommitContainerOptionsBuilder;
use sha2::{Digest, Sha256};

use super::dockerfile::{self, Command, Instruction, Part, Plan, Stage};
use super::log::Output;
use super::sandbox::Room;
use super::{BuildError, ImageBuilder, STEP_REPOSITORY, base, context};
use crate::engine::{self, Fault};
use crate::ownership;

/// The shell of an image that names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// One build.
pub(super) struct Steps<'a> {
    pub(super) builder: &'a ImageBuilder,
    pub(super) plan: &'a Plan,
    /// The name of the final image.
    pub(super) tag: &'a str,
    /// Values of `ARG`s.
    pub(super) given: BTreeMap<String, String>,
}

/// The state of a build.
struct Progress<'a> {
    /// The app's files.
    context: Vec<u8>,
    /// The app's labels.
    labels: HashMap<String, String>,
    room: &'a mut Room,
    /// Finished stages and their images.
    stages: Vec<(Option<&'a str>, String)>,
    /// Values for `ARG`s of the stage.
    given: BTreeMap<String, String>,
    /// The last image.
    image: Option<String>,
    /// `ARG`s so far, which the next part has to repeat.
    arg_lines: Vec<String>,
    args: BTreeMap<String, String>,
}

impl Progress<'_> {
    fn stage_image(&self, name: &str) -> Option<String> {
        let by_name = self.stages.iter().find(|(of, _)| of.is_some_and(|of| of.eq_ignore_ascii_case(name)));
        let by_number = || self.stages.get(name.parse::<usize>().ok()?);
        by_name.or_else(by_number).map(|(_, image)| image.clone())
    }
}

impl Steps<'_> {
    /// The image id of the last stage. `context`: the app's files; `labels`: the app's labels.
    pub(super) async fn run(
        &self,
        context: Vec<u8>,
        labels: HashMap<String, String>,
        room: &mut Room,
        output: &mut Output<'_>,
    ) -> Result<String, BuildError> {
        let globals = self.globals();
        // An ARG without a value in a stage uses the value from before the first FROM.
        let given: BTreeMap<_, _> = globals.clone().into_iter().chain(self.given.clone()).collect();
        let (stages, arg_lines, args) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut progress = Progress { context, labels, room, stages, given, image: None, arg_lines, args };
        for (index, line) in self.plan.global_args.iter().enumerate() {
            output.say(format!("Step {}/{} : {line}", index + 1, self.plan.total)).await;
        }
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let is_last = index + 1 == self.plan.stages.len();
            let from = dockerfile::expand(&stage.from, &globals);
            let from = match progress.stage_image(&from) {
                Some(image) => image,
                None => self.check_base(&from, output).await?,
            };
            self.stage(stage, &from, is_last, &mut progress, output).await?;
            let image = progress.image.take().ok_or_else(|| failed("The engine named no image for a stage."))?;
            progress.stages.push((stage.name.as_deref(), image));
        }
        progress.stages.pop().map(|(_, image)| image).ok_or_else(|| failed("There is no FROM in the Dockerfile."))
    }

    /// Checks that a Dockerfile without a `RUN` uses only allowed images, and that
    /// building on them runs nothing.
    pub(super) async fn check(&self, output: &mut Output<'_>) -> Result<(), BuildError> {
        let globals = self.globals();
        let mut names: Vec<&str> = Vec::new();
        let is_stage = |names: &[&str], name: &str| {
            let number = name.parse::<usize>().ok();
            number.is_some_and(|n| n < names.len()) || names.iter().any(|stage| stage.eq_ignore_ascii_case(name))
        };
        for stage in &self.plan.stages {
            let from = dockerfile::expand(&stage.from, &globals);
            if !is_stage(&names, &from) {
                self.check_base(&from, output).await?;
            }
            let instructions = stage.parts.iter().flat_map(|part| match part {
                Part::Engine(instructions) => instructions.as_slice(),
                Part::Run(..) => &[],
            });
            for from in instructions.filter_map(|instruction| dockerfile::copied_from(&instruction.text)) {
                if !is_stage(&names, from) {
                    self.check_base(from, output).await?;
                }
            }
            names.push(stage.name.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    /// Values of the `ARG`s before the first `FROM`.
    fn globals(&self) -> BTreeMap<String, String> {
        let mut globals = BTreeMap::new();
        for line in &self.plan.global_args {
            dockerfile::declare(line, &self.given, &mut globals);
        }
        globals
    }

    async fn stage(
        &self,
        stage: &Stage,
        from: &str,
        is_last: bool,
        progress: &mut Progress<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        (progress.arg_lines, progress.args) = (Vec::new(), BTreeMap::new());
        let (first, rest): (&[Instruction], _) = match stage.parts.split_first() {
            Some((Part::Engine(instructions), rest)) => (instructions, rest),
            _ => (&[], &stage.parts[..]),
        };
        let is_end = |index: usize| is_last && index == rest.len();
        self.engine_part(Some((from, stage)), first, is_end(0), progress, output).await?;
        for (index, part) in rest.iter().enumerate() {
            match part {
                Part::Engine(instructions) => {
                    self.engine_part(None, instructions, is_end(index + 1), progress, output).await?;
                }
                Part::Run(instruction, command) => {
                    self.run_part(instruction, command, progress, output).await?;
                    if is_end(index + 1) {
                        // The image still needs its name and labels.
                        self.engine_part(None, &[], true, progress, output).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the engine execute instructions that run nothing.
    async fn engine_part(
        &self,
        first: Option<(&str, &Stage)>,
        instructions: &[Instruction],
        is_end: bool,
        progress: &mut Progress<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        // Each line, and its text in the log.
        let mut lines: Vec<(String, Option<String>)> = Vec::new();
        match first {
            Some((from, stage)) => {
                lines.push((format!("FROM {from}"), Some(self.shown(&stage.first))));
                // Labels mark all resulting images as this builder's.
                lines.push((context::label_line(&self.builder.settings.installation.own_labels()), None));
            }
            None => lines.push((format!("FROM {}", progress.image.as_deref().unwrap_or_default()), None)),
        }
        lines.extend(progress.arg_lines.iter().map(|line| (line.clone(), None)));
        for instruction in instructions {
            if let Some(from) = dockerfile::copied_from(&instruction.text)
                && progress.stage_image(from).is_none()
            {
                self.check_base(from, output).await?;
            }
            if instruction.word == "ARG" {
                progress.arg_lines.push(instruction.text.clone());
                dockerfile::declare(&instruction.text, &progress.given, &mut progress.args);
            }
            let text = dockerfile::with_stage(&instruction.text, |name| progress.stage_image(name));
            lines.push((text, Some(self.shown(instruction))));
        }
        if is_end {
            let at = lines.iter().rposition(|(line, _)| is_copy(line)).unwrap_or(lines.len());
            lines.insert(at, (context::label_line(&progress.labels), None));
        }
        let mut text = self.plan.escape.map(|escape| format!("# escape={escape}\n")).unwrap_or_default();
        let mut shown = Vec::new();
        for (line, show) in lines {
            text.push_str(&line);
            text.push('\n');
            shown.push(show);
        }
        let context = context::with_dockerfile(&progress.context, &text);
        let context = context.ok_or_else(|| failed("The app's files cannot be read."))?;
        output.show_steps(Some(shown)).await;
        let tag = is_end.then_some(self.tag);
        let built = self.builder.engine_build(context, tag, &progress.given, HashMap::new(), output).await;
        output.show_steps(None).await;
        progress.image = Some(built?);
        Ok(())
    }

    fn shown(&self, instruction: &Instruction) -> String {
        format!("Step {}/{} : {}", instruction.number, self.plan.total, instruction.text)
    }

    /// Runs a step in a container, or finds its cached image.
    async fn run_part(
        &self,
        instruction: &Instruction,
        command: &Command,
        progress: &mut Progress<'_>,
        output: &mut Output<'_>,
    ) -> Result<(), BuildError> {
        let builder = self.builder;
        let parent = progress.image.clone().unwrap_or_default();
        output.say(self.shown(instruction)).await;
        let before = engine::call(engine::QUICK, builder.docker.inspect_image(&parent)).await?;
        let config = before.config.unwrap_or_default();
        let (command, shown) = words(command, &config, &progress.args);
        let repository = format!("{STEP_REPOSITORY}/{}", builder.settings.installation);
        let tag = step_tag(&parent, &command);
        match engine::call(engine::QUICK, builder.docker.inspect_image(&format!("{repository}:{tag}"))).await {
            Ok(ImageInspect { id: Some(id), .. }) => {
                progress.image = Some(id);
                return Ok(());
            }
            Ok(_) | Err(Fault::NotFound(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
        let ended = builder.run_step(progress.room, &parent, command, &shown, output).await?;
        let options = CommitContainerOptionsBuilder::new()
            .container(&ended.id)
            .repo(&repository)
            .tag(&tag)
            .comment("a build step of Slipway")
            .pause(false)
            .build();
        let commit = builder.docker.commit_container(options, kept(config));
        let made = engine::call(engine::SLOW * 5, commit).await?;
        ended.remove().await?;
        progress.image = Some(made.id);
        Ok(())
    }

    /// Makes sure that a stage's base image is in the engine, and that building on it runs nothing.
    async fn check_base(&self, image: &str, output: &mut Output<'_>) -> Result<String, BuildError> {
        if image == "scratch" {
            return Ok(image.to_owned());
        }
        let is_given = self.given.get("BASE_IMAGE").is_some_and(|base| base == image);
        if !is_given {
            base::refuse_ours(image)?;
        }
        let docker = &self.builder.docker;
        let found = match engine::call(engine::QUICK, docker.inspect_image(image)).await {
            Err(Fault::NotFound(_)) => {
                base::pull(docker, image, output).await?;
                engine::call(engine::QUICK, docker.inspect_image(image)).await?
            }
            other => other?,
        };
        let config = found.config.unwrap_or_default();
        // An image can be referenced by a prefix of its id.
        if !is_given && config.labels.is_some_and(|labels| labels.contains_key(ownership::INSTALLATION)) {
            return Err(base::is_ours(image));
        }
        if config.on_build.is_some_and(|steps| !steps.is_empty()) {
            return Err(failed(&format!("The image {image} has ONBUILD steps, which Slipway does not allow.")));
        }
        Ok(image.to_owned())
    }
}

/// The command of a step's container, and its text in errors.
fn words(command: &Command, config: &ImageConfig, args: &BTreeMap<String, String>) -> (Vec<String>, String) {
    let words: Vec<String> = match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            let shell = config.shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).into());
            shell.into_iter().chain([text.clone()]).collect()
        }
    };
    let shown = words.join(" ");
    // As variables of the container they would stay in the image.
    let is_set = |name: &str| config.env.iter().flatten().any(|line| line.split('=').next() == Some(name));
    let args = args.iter().filter(|(name, _)| !is_set(name)).map(|(name, value)| format!("{name}={value}"));
    let args: Vec<_> = args.collect();
    if args.is_empty() {
        return (words, shown);
    }
    (std::iter::once("env".to_owned()).chain(args).chain(words).collect(), shown)
}

fn is_copy(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word.eq_ignore_ascii_case("COPY") || word.eq_ignore_ascii_case("ADD")
}

/// The cache key of a step: its image and its command.
fn step_tag(parent: &str, command: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(parent).chain(command.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The settings of the image before a step, which the resulting image keeps.
fn kept(config: ImageConfig) -> ContainerConfig {
    ContainerConfig {
        user: config.user,
        env: config.env,
        working_dir: config.working_dir,
        exposed_ports: config.exposed_ports,
        volumes: config.volumes,
        healthcheck: config.healthcheck,
        labels: config.labels,
        stop_signal: config.stop_signal,
        shell: config.shell,
        // Empty instead of missing: otherwise it would be the step's command.
        entrypoint: Some(config.entrypoint.unwrap_or_default()),
        cmd: Some(config.cmd.unwrap_or_default()),
        ..Default::default()
    }
}

fn failed(message: &str) -> BuildError {
    BuildError::Failed { message: message.to_owned(), lines: Vec::new() }
}

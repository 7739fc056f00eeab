//! Webhooks: calls that were received, test calls, the secret.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::Services;
use super::probing::TestAnswer;
use super::test_call::TestCall;
use super::webhook_samples::Sample;
use crate::domain::{App, AppName, Environment, Job, JobKind, TemplateKind};
use crate::error::{AppError, AppResult};
use crate::proof::{Signature, sign};
use crate::runtime::Reach;
use crate::webhook_calls::{CallSource, NewCall, WITHHELD, WebhookCall};

/// The path of calls.
pub const WEBHOOK_PATH: &str = "/webhook";

impl Services {
    /// The webhook of this name; none if there is none, or if the app is of another kind.
    pub async fn webhook(&self, name: &AppName) -> Option<App> {
        let app = self.app(name).await.ok()?;
        self.template_of(&app).is_ok_and(|template| template.manifest.kind == TemplateKind::Webhook).then_some(app)
    }

    /// Whether calls of an environment's public address pass through the builder, so that they are recorded.
    pub fn records_webhook_calls(&self) -> bool {
        self.platform.runtime.previews == Reach::Gateway
    }

    /// Keeps a call that a webhook received.
    pub fn record_webhook_call(&self, app: &App, call: NewCall) {
        self.platform.webhook_calls.add(app.id, call);
    }

    /// The last calls of an environment, newest first, without the app's secrets.
    pub async fn webhook_calls(&self, app: &App, environment: Environment) -> AppResult<Vec<WebhookCall>> {
        let redaction = self.platform.redaction(app).await?;
        let calls = self.platform.webhook_calls.of(app.id, environment);
        let redacted = calls.into_iter().map(|call| {
            let mut shown = Arc::unwrap_or_clone(call);
            let size = shown.call.body.len();
            let text = redaction.string(String::from_utf8_lossy(&shown.call.body).into_owned());
            // Its length still says whether the body is whole.
            shown.call.size = shown.call.size - size as u64 + text.len() as u64;
            shown.call.body = text.into_bytes();
            for (_, value) in &mut shown.call.headers {
                *value = redaction.string(std::mem::take(value));
            }
            shown
        });
        Ok(redacted.collect())
    }

    /// Sends a kept call again, to either environment, signed anew.
    pub async fn send_webhook_call_again(
        &self,
        app: &App,
        id: u64,
        to: Environment,
    ) -> AppResult<(TestCall, TestAnswer)> {
        let kept = self.platform.webhook_calls.find(app.id, id);
        let kept = kept.ok_or_else(|| AppError::not_found("kept call of this number"))?;
        if !kept.is_whole() {
            return Err(AppError::conflict("call_not_whole", "This call was too large to be kept as a whole."));
        }
        let headers = kept.call.headers.iter().filter(|(name, value)| {
            value != WITHHELD && !matches!(name.as_str(), "host" | "content-length" | "x-timestamp" | "accept-encoding")
        });
        let call = self.signed_call(app, to, headers.cloned().collect(), kept.call.body.clone()).await?;
        self.send_webhook_call(app, to, call).await
    }

    /// A test call with this body, signed, and with the headers of a sender.
    pub async fn webhook_test_call(
        &self,
        app: &App,
        environment: Environment,
        sample: Sample,
        body: &str,
    ) -> AppResult<TestCall> {
        let mut headers: Vec<(String, String)> =
            sample.headers().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        self.signed_call(app, environment, headers, body.as_bytes().to_vec()).await
    }

    /// Sends a call from the app's page, and keeps it with those of other senders.
    pub async fn send_webhook_call(
        &self,
        app: &App,
        environment: Environment,
        call: TestCall,
    ) -> AppResult<(TestCall, TestAnswer)> {
        let at = self.now();
        let answer = self.try_request(app, environment, &call).await?;
        let kept = NewCall {
            environment,
            at,
            source: CallSource::Page,
            status: answer.status,
            millis: answer.millis,
            headers: call.headers.clone(),
            size: call.body.len() as u64,
            body: call.body.clone(),
        };
        self.record_webhook_call(app, kept);
        Ok((call, answer))
    }

    async fn signed_call(
        &self,
        app: &App,
        environment: Environment,
        mut headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> AppResult<TestCall> {
        let secret = self.webhook_secret(app, environment).await?;
        let signature = self.webhook_signature(app, environment).await?;
        headers.extend(sign(signature, secret.expose_secret(), self.now().as_second(), &body));
        Ok(TestCall { method: "POST".to_owned(), path: WEBHOOK_PATH.to_owned(), headers, body })
    }

    /// How calls to an environment are signed: what the version that runs there says; where nothing runs, the newest one.
    pub async fn webhook_signature(&self, app: &App, environment: Environment) -> AppResult<Signature> {
        let settings = match &app.environment(environment).version {
            Some(version) => self.settings_of_version(app, version).await?,
            None => self.settings(app).await?,
        };
        Ok(Signature::parse(settings.signature.as_deref())?)
    }

    /// The secret that signs calls to a webhook.
    pub async fn webhook_secret(&self, app: &App, environment: Environment) -> AppResult<SecretString> {
        let mut secrets = self.platform.secrets(app, environment).await?;
        secrets.remove("WEBHOOK_SECRET").ok_or_else(|| AppError::not_found("webhook secret of this app"))
    }

    /// Replaces the secret of an environment. What runs there is deployed again, unchanged, and has the new one when that
    /// job has ended; none if nothing runs.
    pub async fn rotate_webhook_secret(&self, name: &AppName, environment: Environment) -> AppResult<Option<Job>> {
        let app = self.app(name).await?;
        // Fails for an app that has none.
        self.webhook_secret(&app, environment).await?;
        if app.deleting {
            return Err(AppError::conflict("app_deleting", format!("“{name}” is being deleted.")));
        }
        let again = self.deployment_again(&app, environment).await?;
        self.platform.replace_webhook_secret(&app, environment).await?;
        match again {
            Some(kind) => Ok(Some(self.jobs.enqueue(&app, kind, self.author).await?)),
            None => Ok(None),
        }
    }

    /// The job that deploys what runs in an environment once more.
    async fn deployment_again(&self, app: &App, environment: Environment) -> AppResult<Option<JobKind>> {
        let status = app.environment(environment);
        let (Some(mut number), Some(version)) = (status.release, status.version.clone()) else { return Ok(None) };
        if environment == Environment::Preview {
            return Ok(Some(JobKind::Preview { version, turn: None }));
        }
        // Production runs a preview's image: that of its own release, or of the one that it was rolled back to.
        loop {
            let release = self.release(app, environment, number).await?;
            match release.from_release {
                Some(earlier) if release.rolled_back && earlier < number => number = earlier,
                Some(preview) => return Ok(Some(JobKind::Publish { release: preview })),
                None => return Err(AppError::internal(&"a release of production that comes from no preview")),
            }
        }
    }
}

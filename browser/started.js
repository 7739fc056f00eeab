// Which jobs were started in this tab: the stage switches automatically only for those. The server names the job in its
// response; an app's first job is started on the first page.

/** What this tab remembers of an app. */
export const memoryOf = (app) => ({
  read: (name) => sessionStorage.getItem(`slipway:${app}:${name}`),
  write: (name, value) => sessionStorage.setItem(`slipway:${app}:${name}`, value),
});

/** Number of jobs that are remembered. */
const KEPT = 20;
const shown = document.querySelector("#workbench")?.dataset.app;
const jobsOf = (app) => (memoryOf(app).read("jobs") ?? "").split(",").filter(Boolean).map(Number);

/** Whether one of the jobs was started in this tab. */
export const isOwn = (jobs) => jobs.some((job) => jobsOf(shown).includes(job));

/** Whether anything of this app was started in this tab. */
export const hasStarted = () => jobsOf(shown).length > 0;

document.addEventListener("htmx:after:request", ({ detail }) => {
  const headers = detail.ctx?.response?.headers;
  const job = Number(headers?.get("slipway-job"));
  if (!job) return;
  const app = shown ?? /^\/apps\/([a-z0-9-]+)$/.exec(headers.get("hx-redirect") ?? "")?.[1];
  if (!app) return;
  memoryOf(app).write("jobs", [...jobsOf(app).filter((one) => one !== job), job].slice(-KEPT).join(","));
  document.dispatchEvent(new CustomEvent("slipway:started", { detail: { job } }));
});

"""A small API. The platform runs the variable `app` and asks GET /health whether it is well."""

from fastapi import FastAPI

# The generated documentation pages load scripts from elsewhere, so they are off; /openapi.json stays.
app = FastAPI(title="A new API", version="1.0.0", docs_url=None, redoc_url=None)


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work. A release takes visitors only after this answered 200."""
    return {"status": "ok"}


@app.get("/")
def index() -> dict[str, object]:
    """Says what can be called here."""
    return {
        "message": "It works. Describe what this API should do, and it will be written here.",
        "try": ["/health", "/hello/world", "/openapi.json"],
    }


@app.get("/hello/{name}")
def hello(name: str) -> dict[str, str]:
    """An example to replace."""
    return {"message": f"Hello, {name}!"}

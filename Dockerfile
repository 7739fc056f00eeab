# Slipway as an image: the binary and CA certificates, without privileges.
#
#   docker build -t slipway .                                        from source; needs public base images
#   docker build -t slipway --target runtime-prebuilt -f Dockerfile FOLDER
#                                                                    from a binary that is in FOLDER as `slipway`
#
# The base images are arguments, for mirrors and for machines that reach no registry. RUNTIME_IMAGE must be as new as
# what the binary was linked on (glibc), and Debian or Ubuntu if it lacks certificates.
# Stages stand in the order in which the classic builder runs them: what the prebuilt one does not need comes after it.
ARG RUNTIME_IMAGE=debian:trixie-slim
ARG NODE_IMAGE=node:22-slim
ARG RUST_IMAGE=rust:1.95-slim-trixie

FROM ${RUNTIME_IMAGE} AS base
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 || (apt-get update -qq \
     && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates \
     && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log)
# The user has a number alone, which is what Kubernetes checks.
RUN mkdir -m 0700 /data && chown 10001:10001 /data
ENV HOME=/tmp SLIPWAY_DATA_DIR=/data SLIPWAY_LISTEN=0.0.0.0:8080
WORKDIR /data
EXPOSE 8080
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/slipway"]
CMD ["serve"]

FROM base AS runtime-prebuilt
COPY slipway /usr/local/bin/slipway

FROM ${NODE_IMAGE} AS browser-libraries
WORKDIR /source
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${RUST_IMAGE} AS build
WORKDIR /source
COPY . .
COPY --from=browser-libraries /source/node_modules node_modules
RUN cargo build --release --locked --bin slipway

FROM base AS runtime
COPY --from=build /source/target/release/slipway /usr/local/bin/slipway

# One image, every process: `serve` hears, `work --lane LANE` tells.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/ requirements/
# The tools stay in /build; /opt/gatepost gets no pip, for what runs there never installs.
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/gatepost \
 && /build/bin/pip install --no-deps --require-hashes --requirement requirements/build.txt \
 && /build/bin/pip --python /opt/gatepost/bin/python install \
    --require-hashes --only-binary :all: --requirement requirements/runtime.txt
COPY . .
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /build/bin/pip --python /opt/gatepost/bin/python install --no-deps --no-index /dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Gatepost" \
      org.opencontainers.image.description="Identity-lifecycle webhooks in, SCIM out" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/gatepost/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/gatepost /opt/gatepost
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["gatepost"]
CMD ["serve", "--host", "0.0.0.0"]

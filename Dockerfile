# The mediator in a container:
#
#   docker build -t punchwire .
#   docker run --rm --user "$(id -u)" -v "$PWD:/here" punchwire authorize --authorized /here/authorized /here/alice.pem /here/bob.pem
#   docker run -d --name mediator --restart unless-stopped --stop-timeout 45 --ulimit nofile=65536 \
#       -p 54700-54702:54700-54702 -p 54700-54701:54700-54701/udp -p 127.0.0.1:9470:9470 -e P2P_SERVER_METRICS=0.0.0.0:9470 \
#       -v mediator:/var/lib/punchwire -v "$PWD/authorized:/etc/punchwire/authorized:ro" punchwire
#   docker logs mediator                                         # its id is in the first line
#   docker inspect -f '{{.State.Health.Status}}' mediator
#
# The volume has its TLS key, which is its identity; without a name it would go with the container. For another version: build, docker
# rm -f after docker stop, and run again. Flags of p2p-server go at the end, or into the environment: --log-format json is
# P2P_SERVER_LOG_FORMAT=json. docs/running.md has more.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/punchwire \
 && /opt/punchwire/bin/pip install --require-hashes -r requirements/runtime.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY proto/ proto/
COPY core/ core/
COPY server/ server/
COPY peer/ peer/
COPY share/ share/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/punchwire/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/punchwire --shell /usr/sbin/nologin punchwire \
 && install -d -o punchwire -g punchwire -m 0700 /var/lib/punchwire \
 && install -d /etc/punchwire/authorized
COPY --from=build /opt/punchwire /opt/punchwire
COPY scripts/server-health.py /opt/punchwire/server-health.py
ENV PATH=/opt/punchwire/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    P2P_SERVER_HOST=0.0.0.0 \
    P2P_SERVER_AUTHORIZED=/etc/punchwire/authorized \
    P2P_SERVER_STATE_DIR=/var/lib/punchwire
USER punchwire
# The mediator's TLS key is its identity: peers pin it, so it has to outlive the container.
VOLUME /var/lib/punchwire
EXPOSE 54700/tcp 54700/udp 54701/tcp 54701/udp 54702/tcp
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["python", "/opt/punchwire/server-health.py"]
ENTRYPOINT ["p2p-server"]

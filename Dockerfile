# Two images from one file: `train` does the job and repeats runs, `serve` answers the challenge's HTTP contract.
#
#   docker build --target train -t oneday-train .
#   docker build --target serve -t oneday-serve .
#   docker run --rm --init --stop-timeout 300 --gpus all --user $(id -u) -v $PWD:/data oneday-train \
#       reproduce runs/200k/manifest.json --run runs/again --base models/Mistral-7B-v0.1
#   docker run --rm --init --stop-timeout 40 --gpus all -p 8080:8080 -v $PWD/runs/200k:/checkpoint:ro \
#       -v $PWD/models/Mistral-7B-v0.1:/base:ro oneday-serve
#
# Options behind the image's name are added to what it starts with: `oneday-serve --max-batch 8` still serves /checkpoint
# on /base. --stop-timeout is longer than a SIGTERM may take: 30 s of answers here, an evaluation and a save there.
#
# torch's wheels bring CUDA, cuDNN and Triton's ptxas; the driver comes from the host. So the base is plain Debian, and
# any other with Python 3.11 or 3.12 from apt will do as BASE_IMAGE. Weights and data are mounted, never part of a layer.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS common
ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USE_PEP517=1 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 AXOLOTL_DO_NOT_TRACK=1 DO_NOT_TRACK=1 \
    HOME=/home/oneday USER=oneday LOGNAME=oneday PATH=/venv/bin:$PATH
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /venv \
 && useradd --create-home --uid 10001 oneday \
# so that `--user $(id -u)`, whose files then are yours, can write its caches as well
 && chmod 1777 /home/oneday
WORKDIR /app
COPY pyproject.toml constraints.txt ./

# The stack first, from these two files alone: a change of our code or of a page does not install it again.
FROM common AS train
# Triton compiles its launchers when they are first needed.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -c "import tomllib as t; p = t.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; \
print(*p['dependencies'], *x['curate'], *x['train'], *x['serve'], *x['eval'], sep='\n')" > requirements.txt \
 && pip install -c constraints.txt torch==2.13.0 && pip install -c constraints.txt -r requirements.txt
COPY . .
# The README is no part of the image, but of the package's description.
RUN touch README.md && pip install --no-deps . && mkdir -p /data && chown oneday /data
WORKDIR /data
USER oneday
ENTRYPOINT ["oneday"]
CMD ["demo"]

FROM common AS serve
RUN python3 -c "import tomllib as t; p = t.load(open('pyproject.toml', 'rb'))['project']; \
print(*p['dependencies'], *p['optional-dependencies']['serve'], sep='\n')" > requirements.txt \
 && pip install -c constraints.txt torch==2.13.0 && pip install -c constraints.txt -r requirements.txt
COPY . .
RUN touch README.md && pip install --no-deps .
WORKDIR /home/oneday
USER oneday
EXPOSE 8080
# It finds the port in the server's own options.
HEALTHCHECK --interval=30s --timeout=5s --start-period=600s CMD ["python3", "-m", "submission.server.health_check"]
# Of an option that is given twice the last counts: what stands behind the image's name goes before these.
ENTRYPOINT ["oneday", "serve", "--host", "0.0.0.0", "--port", "8080", "--checkpoint", "/checkpoint", "--base", "/base"]

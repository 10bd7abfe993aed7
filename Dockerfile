# Two images from one file: `train` reproduces a run, `serve` answers the challenge's HTTP contract.
#   docker build --target serve -t oneday-serve .
#   docker run --gpus all -p 8080:8080 -v $PWD/runs/200k:/checkpoint -v $PWD/models/base:/base oneday-serve
# The base image is an argument: any image with Python 3.11 or 3.12 will do for the CPU.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04
FROM ${BASE_IMAGE} AS common
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 \
    AXOLOTL_DO_NOT_TRACK=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 oneday
WORKDIR /app
RUN python3 -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY oneday oneday
COPY curation curation
COPY harness harness
COPY submission submission
COPY axolotl_configs axolotl_configs

FROM common AS train
RUN pip install torch==2.13.0 -c constraints.txt && pip install -c constraints.txt '.[train,serve,eval]'
WORKDIR /data
RUN mkdir -p /data/runs && chown -R oneday /data
USER oneday
VOLUME /data/runs
ENTRYPOINT ["oneday"]
CMD ["demo"]

FROM common AS serve
RUN pip install torch==2.13.0 -c constraints.txt && pip install -c constraints.txt '.[serve]'
USER oneday
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
  CMD python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"
ENTRYPOINT ["oneday", "serve", "--host", "0.0.0.0", "--port", "8080"]
CMD ["--checkpoint", "/checkpoint", "--base", "/base"]

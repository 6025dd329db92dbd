# Training on NVIDIA GPUs: torch's ordinary build carries CUDA. See docs/deployment.md.
FROM python:3.11.13-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends build-essential git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/mmvitlin
COPY . .
RUN make setup PYTHON=python3 && rm -rf ~/.cache
ENV PATH=/opt/mmvitlin/.venv/bin:$PATH
ENTRYPOINT ["python", "-m", "mmvitlin"]
CMD ["--help"]

# An exported file on a CPU: no torch, some 400 MB. See docs/deployment.md.
FROM python:3.11.13-slim-bookworm
RUN pip install --no-cache-dir numpy==2.4.6 pillow==13.0.0 onnxruntime==1.31.1 openvino==2026.4.1
COPY mmvitlin/__init__.py /opt/mmvitlin/mmvitlin/
COPY mmvitlin/utils/__init__.py mmvitlin/utils/errors.py mmvitlin/utils/paths.py mmvitlin/utils/files.py mmvitlin/utils/outputs.py /opt/mmvitlin/mmvitlin/utils/
COPY mmvitlin/deploy /opt/mmvitlin/mmvitlin/deploy
ENV PYTHONPATH=/opt/mmvitlin
USER 1000
ENTRYPOINT ["python", "-m", "mmvitlin.deploy"]

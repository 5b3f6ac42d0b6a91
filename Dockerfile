# An image for JupyterHub (or `docker run -p 8888:8888 m4kit`) with m4kit, its notebooks and sample images.
# Not built and not tested by us; a test checks what it copies and installs.
FROM python:3.12-slim-bookworm

# The libraries that Open3D needs where there is no screen. Debian's stable versions need no pins.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1 libgomp1 libx11-6 libudev1 libidn2-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/m4kit
COPY pyproject.toml setup.py README.md LICENSE ./
COPY jupyter-config jupyter-config
COPY scripts/constraints.txt scripts/constraints.txt
COPY m4kit m4kit

# PyTorch's default on Linux brings gigabytes of CUDA; this is its CPU build, in the version of the constraints.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && pip install --no-cache-dir -c scripts/constraints.txt . jupyterhub

RUN useradd --create-home --uid 1000 student
COPY --chown=student notebooks /home/student/notebooks
COPY --chown=student sample_images /home/student/sample_images
USER 1000
WORKDIR /home/student
EXPOSE 8888

# JupyterHub gives its own command, `jupyterhub-singleuser`.
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]

# One image for engine, API, workbench and notebooks; the command says which. See docker-compose.yml.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 AXIOM_HOME=/var/lib/axiom AXIOM_HOST=0.0.0.0
WORKDIR /opt/axiom
RUN useradd --create-home --uid 10001 axiom && install -d -o axiom -g axiom -m 0700 /var/lib/axiom
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY engine engine
COPY workbench workbench
COPY streamlit_app.py ./
COPY .streamlit .streamlit
COPY notebooks notebooks
RUN pip install -c constraints.txt -e '.[workbench,notebooks]'
USER axiom
VOLUME /var/lib/axiom
EXPOSE 11112 8001 8501
ENTRYPOINT ["axiom"]
CMD ["up"]

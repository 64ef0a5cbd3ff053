"""Full-batch and mini-batch gradient descent on a GPU, or the same steps in float32 where there is none."""

import numpy as np

import streamgd
from streamgd import cuda, linear_model, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(50_000, 64)).astype(np.float32)
y = X @ rng.normal(size=64).astype(np.float32) > rng.logistic(size=50_000)

if cuda.is_available():
    device = {"device": "cuda"}
    # arrays of PyTorch, CuPy or Numba that lie on the device already are read where they are
else:
    try:
        cuda.require()
    except cuda.CudaUnavailable as why:
        print("no GPU:", why)
    device = {"dtype": "float32"}  # what a GPU would compute, on the CPU

model = linear_model.LogisticRegression(optim.Adam(0.01))
history = streamgd.fit(model, X, y, batch_size=4096, epochs=5, progress=False, **device)
print(f"{history.updates} updates, accuracy {history.last('accuracy'):.1%}")

# the model is on the host, whatever computed it: it goes on row by row, is copied, pickled and saved
model.learn_one(dict(enumerate(X[0].tolist())), bool(y[0]))
print(f"{model.n_updates} updates, one of them from a dict")

"""Passive-aggressive learners: the smallest step that brings a row's loss to 0."""

from __future__ import annotations

from typing import Any, Literal

from streamgd._learner import LinearLearner
from streamgd.optim import PassiveAggressive, losses
from streamgd.optim.schedulers import Constant

from ._tasks import LinearClassifier, LinearRegressor


class _PassiveAggressiveLearner(LinearLearner):
    """The parameters by river's names; they are those of the optimizer and of the intercept's rate."""

    __slots__ = ()

    def __init__(self, C: float, mode: int, learn_intercept: bool, **rest: Any) -> None:
        super().__init__(
            optimizer=PassiveAggressive(C, mode),
            l2=0.0,
            l1=0.0,
            intercept_init=0.0,
            intercept_lr=Constant(float(bool(learn_intercept))),
            clip_gradient=1e12,
            initializer=None,
            penalty=None,
            late="global",
            **rest,
        )

    @property
    def C(self) -> float:  # noqa: N802  river's name
        """How far a single row may move the weights."""
        assert isinstance(self.optimizer, PassiveAggressive)
        return self.optimizer.C

    @C.setter
    def C(self, value: float) -> None:  # noqa: N802
        self._change("optimizer", self.optimizer.replace(C=value))

    @property
    def mode(self) -> int:
        """0, 1 (PA-I) or 2 (PA-II)."""
        assert isinstance(self.optimizer, PassiveAggressive)
        return self.optimizer.mode

    @mode.setter
    def mode(self, value: int) -> None:
        self._change("optimizer", self.optimizer.replace(mode=value))

    @property
    def learn_intercept(self) -> bool:
        """Whether the intercept is learned."""
        return bool(self.intercept_lr != Constant(0.0))

    @learn_intercept.setter
    def learn_intercept(self, value: bool) -> None:
        self._change("intercept_lr", Constant(float(bool(value))))


class PAClassifier(_PassiveAggressiveLearner, LinearClassifier):
    r"""Passive-aggressive classification, compiled.

    A row within the margin leaves the model as it is; another moves it as little as brings the row's
    hinge loss to 0, :math:`w \leftarrow w + \tau s x` with :math:`s` 1 for the positive label and -1 for
    the other, and :math:`\tau` of the mode. Parameters, defaults and results are those of river's class
    of the same name. There are no mini-batches: the step is that of one row.

    Parameters
    ----------
    C
        How far a single row may move the weights (modes 1 and 2): lower it for noisy labels. A sample's
        weight multiplies it.
    mode
        :math:`\tau`: 0 for :math:`\ell / \lVert x \rVert^2`, 1 (PA-I) for the smaller of that and
        :math:`C`, 2 (PA-II) for :math:`\ell / (\lVert x \rVert^2 + 1 / (2C))`.
    learn_intercept
        Whether the intercept is learned: it takes the same step, and has no part in the norm.
    labels
        The labels, ``(negative, positive)``, if they are not to be found in the stream.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.
    class_weight
        What the weights of samples are multiplied by, by their class: ``"balanced"``, a dict of labels and
        factors, or a piece of `optim.class_weights`. Losses and metrics do not see it.

    Attributes
    ----------
    weights : dict
        Weights by feature.
    intercept : float
        The intercept.
    labels_ : tuple
        The labels known so far, the negative one first.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.PAClassifier(C=0.01)
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 89.52%

    References
    ----------
    Crammer, K., Dekel, O., Keshet, J., Shalev-Shwartz, S., Singer, Y. (2006). Online
    passive-aggressive algorithms. JMLR 7, figure 1.
    """

    _default_loss = losses.Hinge

    def __init__(
        self,
        C: float = 1.0,
        mode: int = 1,
        learn_intercept: bool = True,
        *,
        labels: tuple[Any, Any] | None = None,
        on_invalid: Literal["raise", "skip"] = "raise",
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            C, mode, learn_intercept,
            loss=None, labels=labels, on_invalid=on_invalid, class_weight=class_weight,
        )  # fmt: skip


class PARegressor(_PassiveAggressiveLearner, LinearRegressor):
    r"""Passive-aggressive regression, compiled.

    A row whose error is at most ``eps`` leaves the model as it is; another moves it as little as brings
    the error down to ``eps``, :math:`w \leftarrow w + \tau u x` with :math:`u` the sign of
    :math:`y - p`, :math:`\ell = |y - p| - \epsilon` and :math:`\tau` of the mode. Parameters and defaults
    are those of river's class of the same name, whose steps are those of the target :math:`2y - 1` in
    the direction of :math:`y`; here, as in the paper, both are of :math:`y`. There are no mini-batches:
    the step is that of one row.

    Parameters
    ----------
    C
        How far a single row may move the weights (modes 1 and 2): lower it for noisy targets. A sample's
        weight multiplies it.
    mode
        :math:`\tau`: 0 for :math:`\ell / \lVert x \rVert^2`, 1 (PA-I) for the smaller of that and
        :math:`C`, 2 (PA-II) for :math:`\ell / (\lVert x \rVert^2 + 1 / (2C))`.
    eps
        Error, in units of the target, that is free.
    learn_intercept
        Whether the intercept is learned: it takes the same step, and has no part in the norm.
    on_invalid
        What to do with a bad sample: ``"raise"``, or ``"skip"`` and count it in ``n_invalid``.

    Attributes
    ----------
    weights : dict
        Weights by feature.
    intercept : float
        The intercept.
    n_invalid : int
        Bad samples that were skipped.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics, preprocessing
    >>> from streamgd import linear_model
    >>> model = preprocessing.StandardScaler() | linear_model.PARegressor(C=0.1, mode=2)
    >>> evaluate.progressive_val_score(datasets.TrumpApproval(), model, metrics.MAE())
    MAE: 0.747568

    References
    ----------
    Crammer, K., Dekel, O., Keshet, J., Shalev-Shwartz, S., Singer, Y. (2006). Online
    passive-aggressive algorithms. JMLR 7, section 5.
    """

    _default_loss = losses.EpsilonInsensitiveHinge

    def __init__(
        self,
        C: float = 1.0,
        mode: int = 1,
        eps: float = 0.1,
        learn_intercept: bool = True,
        *,
        on_invalid: Literal["raise", "skip"] = "raise",
    ) -> None:
        loss = losses.EpsilonInsensitiveHinge(eps)
        super().__init__(C, mode, learn_intercept, loss=loss, on_invalid=on_invalid)

    @property
    def eps(self) -> float:
        """Error that is free."""
        assert isinstance(self.loss, losses.EpsilonInsensitiveHinge)
        return self.loss.eps

    @eps.setter
    def eps(self, value: float) -> None:
        self._change("loss", self.loss.replace(eps=value))

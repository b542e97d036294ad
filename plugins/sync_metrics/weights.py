"""The network that judges: from the public file, or from a run."""

from __future__ import annotations

from fctfg.checkpoints import read_weights
from fctfg.errors import BadRun, BadWeights
from fctfg.metrics import weight_file
from fctfg.synccheck import open_judge
from fctfg_plugins.syncnet import SyncNet, SyncNetLoss
from fctfg_plugins.syncnet.public import syncnet_v2


def network_of_file(path: str | None, name: str) -> SyncNet:
    """SyncNet filled from `path`, or from the file `name` that `fctfg weights` keeps.

    Raises:
        BadWeights: it is not there, or is another file.
    """
    path = weight_file("syncnet", path, name)
    tensors, _ = syncnet_v2(read_weights(path))
    network = SyncNet()
    wanted, found = ({key: value.shape for key, value in state.items() if not key.endswith("num_batches_tracked")}
                     for state in (network.state_dict(), tensors))
    if wanted != found:
        different = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise BadWeights(f"{path} is not {name}: {', '.join(different[:3])}{' and more' if len(different) > 3 else ''} "
                         "differ.")
    network.load_state_dict(tensors, strict=False)  # not strict: batches need not have been counted
    return network


def network_of_run(run: str) -> SyncNet:
    """The towers of a critic `syncnet` that was trained here.

    Raises:
        BadRun: the run has none.
    """
    judge, _ = open_judge(run)
    if not isinstance(judge, SyncNetLoss):
        raise BadRun(f"{run} has the expert '{type(judge).__name__}', whose scores are no distances; ask it by metric "
                     f"'sync-expert' with run={run}.")
    return judge.network.towers

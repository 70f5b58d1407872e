import xyzpy

from benchmarks.race.sweeps.work import X, Y, compute

if __name__ == "__main__":
    runner = xyzpy.Runner(compute, var_names=["value"])
    crop = xyzpy.Harvester(runner, "all.nc").Crop(name="sweep", batchsize=100)
    if not crop.is_prepared():
        crop.sow_combos({"x": X, "y": Y}, verbosity=0)
    crop.grow_missing(parallel=True, num_workers=2, verbosity=0)
    crop.reap(overwrite=True)

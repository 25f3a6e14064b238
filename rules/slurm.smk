# With `--executor slurm`: two cases in which its plugin (2.8.0) would wait for ever.

import snakemake_executor_plugin_slurm as slurm


def patient(check):
    """A check of running jobs that keeps them while Slurm's controller is away.

    The plugin drops all jobs when it asked for their status in vain.
    """

    async def check_active_jobs(executor, jobs):
        if jobs and slurm.get_min_job_age() is None:
            executor.logger.warning(
                f"Slurm's controller does not answer; waiting for {len(jobs)} jobs"
            )
            for job in jobs:
                yield job
            return
        async for job in check(executor, jobs):
            yield job

    return check_active_jobs


def precise(query):
    """A query of states in which a job that was preempted for good is a cancelled one.

    One that Slurm starts again is pending. The plugin waits for both.
    """

    async def query_job_status(command, logger):
        states, seconds = await query(command, logger)
        if states is not None:
            for job, state in states.items():
                states[job] = "CANCELLED" if state == "PREEMPTED" else state
        return states, seconds

    return query_job_status


slurm.Executor.check_active_jobs = patient(slurm.Executor.check_active_jobs)
slurm.query_job_status = precise(slurm.query_job_status)

# With `--executor slurm`: Snakemake waits while Slurm's controller does not answer.

import snakemake_executor_plugin_slurm as slurm


def patient(check):
    """A check of running jobs that forgets none of them.

    The plugin (2.8.0) drops all jobs when it asked for their status in vain, and then
    waits for ever.
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


slurm.Executor.check_active_jobs = patient(slurm.Executor.check_active_jobs)

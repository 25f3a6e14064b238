# What became of a job of PBS: running, success or failed. No answer is no failure.
state=$(qstat -x -f "$1" 2>&1)
case "$state" in
    *"job_state = F"*"Exit_status = 0"* | *"Exit_status = 0"*"job_state = F"*) echo success ;;
    *"job_state = F"*) echo failed ;;
    *) echo running ;;
esac

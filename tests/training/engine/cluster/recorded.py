"""Environments of workers under each launcher."""

# Variables of srun's tasks on three nodes, as its manual describes them.
# Source: https://slurm.schedmd.com/srun.html, "OUTPUT ENVIRONMENT VARIABLES".
SLURM_STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "gpu[008-010]",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[008-010]",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "1",
}
# The shell of salloc on a cluster with interactive steps, and that of
# `srun --pty bash`, recorded by their users.
SLURM_SHELL = {
    "SLURM_JOB_NODELIST": "GPU71E4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_STEP_ID": "4294967290",
    "SLURM_STEP_NODELIST": "GPU71E4",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_STEP_TASKS_PER_NODE": "1",
    "SLURM_TASKS_PER_NODE": "8",
}
# A batch script, whose commands run outside a step.
SLURM_BATCH_SCRIPT = {
    "SLURM_JOB_NODELIST": "gpu[008-010]",
    "SLURM_NTASKS": "5",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
# Source: https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html, and
# environments that users of two hosts with two processes each have recorded.
MPI_PROCESS = {
    "OMPI_UNIVERSE_SIZE": "4",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_NODE_RANK": "1",
}
MPI_HOSTS = {"EFFICIENTNET_HOSTS": "node1,node2"}
# Variables of a pod of a JobSet `train` with a replicated job `workers`; pods of a
# Service see its address too. Source: JobSet's documentation of `network` and
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode.
JOBSET_POD = {
    "HOSTNAME": "train-workers-0-3",
    "JOB_COMPLETION_INDEX": "3",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "EFFICIENTNET_WORKERS": "4",
    "EFFICIENTNET_SUBDOMAIN": "train",
}
# The same for an Indexed Job `example-job` behind the Service `headless-svc`. Source:
# https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication.
JOB_POD = {
    "HOSTNAME": "example-job-0",
    "JOB_COMPLETION_INDEX": "0",
    "EFFICIENTNET_WORKERS": "3",
    "EFFICIENTNET_SUBDOMAIN": "headless-svc",
}

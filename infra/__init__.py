"""Where the pipeline leaves one machine: the servers of a team, as processes, containers or in Kubernetes."""

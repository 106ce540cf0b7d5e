"""The agent's local sockets: one for each job, through which the job speaks to its agent, and one for locks."""

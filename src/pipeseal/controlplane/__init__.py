"""The program that carries and schedules jobs and is never believed."""

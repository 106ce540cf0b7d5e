"""How much the server takes: one table of limits, each named in the error that enforces it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Counts are of jobs, sizes of bytes, times of seconds.

    Parameters:
        max_jobs_per_upload: jobs that one uploaded pipeline may make.
        max_jobs_per_build: jobs in one build, retries included.
        max_jobs_per_matrix: combinations of one matrix.
        max_upload_bytes: body of a pipeline upload, and the steps kept in a pipeline's settings.
        max_body_bytes: any other body with JSON.
        max_chunk_bytes: one log chunk, after decompression.
        max_log_bytes: one job's log.
        max_meta_data_bytes: one meta-data value.
        max_artifact_bytes: one artifact.
        max_artifacts_per_build: artifacts of one build.
        artifact_part_bytes: larger artifacts come in parts of about this size, from agents that can.
        max_annotation_bytes: the text of one annotation.
        max_annotations_per_build: annotations of one build, those of its jobs included.
        max_secret_bytes: the value of one secret.
        max_requests_per_minute: of the REST API, by one token or person; 0 for any number.
        max_anonymous_requests_per_minute: by strangers from one address; 0 for any number.
    """

    max_jobs_per_upload: int = 500
    max_jobs_per_build: int = 4_000
    max_jobs_per_matrix: int = 50
    max_upload_bytes: int = 16 * 1024 * 1024
    max_body_bytes: int = 512 * 1024
    max_chunk_bytes: int = 2 * 1024 * 1024
    max_log_bytes: int = 1024 * 1024 * 1024
    max_meta_data_bytes: int = 100 * 1024
    max_artifact_bytes: int = 10 * 1024 * 1024 * 1024
    max_artifacts_per_build: int = 250_000
    artifact_part_bytes: int = 64 * 1024 * 1024
    max_annotation_bytes: int = 1024 * 1024
    max_annotations_per_build: int = 1_000
    max_secret_bytes: int = 64 * 1024
    max_requests_per_minute: int = 60_000
    max_anonymous_requests_per_minute: int = 1_200

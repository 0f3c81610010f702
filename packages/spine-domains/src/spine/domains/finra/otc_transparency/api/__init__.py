"""FINRA's Query API as a source: requests, paging, payloads and the proof by FINRA's totals."""

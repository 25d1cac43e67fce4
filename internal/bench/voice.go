package main

import "context"

func benchVoice(ctx context.Context, rec *recorder) error      { return nil }
func benchConfidence(ctx context.Context, rec *recorder) error { return nil }

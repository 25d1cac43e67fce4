#!/bin/sh
# Speaks the questions beside this script to wav files, 16 kHz mono, with flite's rms voice (Debian: flite). The wavs are
# committed: run this only after changing a text.
set -eu
cd "$(dirname "$0")"
tab=$(printf '\t')
cat questions.tsv more.tsv nonsense.tsv | while IFS="$tab" read -r id text _; do
	flite -voice rms -t "$text" -o "$id.wav"
done

package wav

import (
	"fmt"

	"github.com/catenary-run/catenary/functions"
)

// MaxJoinBytes bounds the samples of a file that [Join] makes: 35 minutes of mono at 16 kHz.
const MaxJoinBytes = 64 << 20

// Join returns one file that plays the parts one after the other. It returns an error wrapping [functions.ErrInvalid]
// if there are no parts, if one is not a file for [Parse], or if their rates or channels differ, and one wrapping
// [functions.ErrOutputLimit] for more than [MaxJoinBytes].
func Join(parts [][]byte) ([]byte, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: wav: no parts to join", functions.ErrInvalid)
	}
	infos := make([]Info, len(parts))
	var total int64
	for i, p := range parts {
		info, err := Parse(p)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i, err)
		}
		if first := infos[0]; i > 0 && (info.SampleHz != first.SampleHz || info.Channels != first.Channels) {
			return nil, fmt.Errorf("%w: wav: part %d has %d Hz and %d channels, part 0 has %d Hz and %d channels: they can't be joined",
				functions.ErrInvalid, i, info.SampleHz, info.Channels, first.SampleHz, first.Channels)
		}
		infos[i] = info
		if total += int64(len(info.Data)); total > MaxJoinBytes {
			return nil, fmt.Errorf("%w: wav: parts of more than %d MiB can't be joined", functions.ErrOutputLimit, MaxJoinBytes>>20)
		}
	}
	file := make([]byte, 0, headerBytes+total)
	file = append(file, Header(infos[0].SampleHz, infos[0].Channels, total)...)
	for _, info := range infos {
		file = append(file, info.Data...)
	}
	return file, nil
}

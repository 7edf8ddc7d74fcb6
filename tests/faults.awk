# Sums up what the fault suite printed: lines like "ADD, killed: 478 tried, 0 left something behind".
match($0, /[^.]* tried, [0-9]+ (left something behind|got through)/) {
	line = substr($0, RSTART, RLENGTH)
	sub(/^test .* \.\.\. /, "", line)
	print line
	at = split(line, words, " ")
	for (i = 1; i <= at; i++) {
		if (words[i] == "tried,") { tried += words[i - 1]; bad += words[i + 1] }
	}
}
/^test result:/ { passed += $4; failed += $6 }
END {
	printf "%d kill points, failures, inputs and packets tried, %d left something behind or got through\n", tried, bad
	printf "%d tests passed, %d failed\n", passed, failed
}

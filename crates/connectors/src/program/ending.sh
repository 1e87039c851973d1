# Ends the program with the number $1 and all that it started, in a container that may have nothing but a shell: first asks,
# then makes them. An engine lets each program lead a session, which those it started are in though it has ended itself; who has
# left that session is found as long as who started it lives.
n=$1
members() {
    found=" " grown=y
    while [ "$grown" ]; do
        grown=
        for stat in /proc/[0-9]*/stat; do
            { read -r line <"$stat"; } 2>/dev/null || continue
            pid=${line%% *}
            case $found in *" $pid "*) continue ;; esac
            # After the name, which may hold anything: the state, who started it, the group, the session.
            set -- ${line##*) }
            case $found in
                *" $2 "*) ;;
                *) [ "$pid" = "$n" ] || [ "$4" = "$n" ] || continue ;;
            esac
            found="$found$pid " grown=y
        done
    done
}
members
# Where nothing can be looked up, the number is all there is.
[ -d /proc/self ] || found=$n
[ "$found" != " " ] || exit 0
kill -TERM $found 2>/dev/null
asked=$found
sleep 1 2>/dev/null
members
kill -KILL $asked $found 2>/dev/null
exit 0

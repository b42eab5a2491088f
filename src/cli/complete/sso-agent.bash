# bash completion for sso-agent. The words come from `sso-agent complete`; here they are only quoted, so that no name
# of a session or profile becomes a command.
_sso_agent() {
    local IFS=$' \t\n'
    local line=${COMP_LINE:0:COMP_POINT} rest word value quote= prefix= breaks
    local -i i last=0
    local -a words=()
    COMPREPLY=()
    # COMP_WORDS is taken apart also at the characters of COMP_WORDBREAKS; what nothing separates is one word to us.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${line#"${line%%[! 	]*}"}
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[last]+=$word
        else
            last=${#words[@]}
            words[last]=$word
        fi
        line=${rest#"$word"}
    done
    case ${words[last]} in
        [\"\']*) quote=${words[last]:0:1} ;;
    esac
    for ((i = 0; i <= last; i++)); do
        words[i]=${words[i]//[\\\"\']/}
    done
    # What readline puts a word in the place of begins after the last of these characters.
    breaks=${COMP_WORDBREAKS//[!=:]/}
    word=${words[last]}
    if [[ -z $quote && -n $breaks && $word == *[$breaks]* ]]; then
        prefix=${word%"${word##*[$breaks]}"}
    fi
    while IFS=$'\t' read -r value _; do
        value=${value#"$prefix"}
        if [[ -z $quote ]]; then
            printf -v value %q "$value"
        elif [[ $value == *[!A-Za-z0-9_./=,@+:-]* ]]; then
            continue
        fi
        COMPREPLY+=("$value")
    done < <(command sso-agent complete --index "$last" -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && type compopt &>/dev/null; then
        compopt -o nospace
    fi
}
complete -F _sso_agent sso-agent

import{a as e,n as t,t as n}from"./jsx-runtime-Wy9s6hX0.js";import{f as r}from"./session-DzrTH9xt.js";var i=e(t(),1),a=`# Words that common passwords are made of, lower case, letters only. See auth/common_passwords.py for how they are looked for.
# Passwords and what is done to get in
password passwort passwd pass passpass passme mypassword mypass thepassword newpassword password password yourpassword
secret topsecret mysecret letmein letmeinnow letmesee openup opensesame sesame access accesspass login loginme logmein signin
admin administrator adminadmin adminpass root rootroot toor superuser super superman user username guest guestguest test testtest
tester testing testpass testpassword demo demodemo default changeme changeit changethis change temp temporary temppass
welcome welcomehome welcomeback hello helloworld hellohello hellokitty hithere whatever whatsup nothing nopassword unknown
blank none null undefined master mastermaster masterkey system server internet computer network database security secure
windows microsoft google facebook yahoo hotmail gmail youtube twitter instagram linkedin myspace android iphone apple samsung
nokia sony playstation xbox nintendo linux ubuntu oracle mysql cisco manager office company business service support
contrasena contraseña motdepasse azerty azertyuiop qwerty qwertyui qwertyuiop qwertz qwerty qwertyqwerty asdf asdfasdf asdfgh
asdfghjk asdfghjkl zxcvbn zxcvbnm zxcv qazwsx qazwsxedc qweasd qweasdzxc qweqwe asdasd zxczxc wasd abcd abcdef abcdefg
abcdefgh abcabc abc aaa xxx zzz aabbcc foobar foobarbaz lorem loremipsum example sample trustno trustnoone trustme whocares
dontknow idontknow iforgot forget forgetit remember idunno incorrect correct wrong invalid enter entry entrance nopass please
пароль qwe йцукен любовь привет солнышко наташа senha senhasenha parola haslo heslo wachtwoord salasana losenord wordpass
mima woaini woaiwojia nihao anhyeuem iloveyou iloveu iluvu iloveme ilovegod ilovejesus ilovehim ilovemom loveyou loveme
loveu lovelove love lovely lover lovers truelove mylove mybaby sweetlove lovebug lovehurts foreverlove forever always
teamo teamomucho tequiero miamor amorcito amormio mivida corazon princesa estrella mariposa preciosa hermosa bonita chiquita
# Endearments and people
baby babygirl babyboy babybaby babydoll babyface sweety sweetie sweetheart sweetpea sweet honey honeybee honeybun darling
princess prince queen king queenbee kingkong angel angels angelica angelo angelina angeleyes blessed blessing beautiful
beauty gorgeous pretty prettygirl handsome sexy sexygirl sexylady sexyboy hottie hotstuff cutie cutiepie friend friends
bestfriend bestfriends mommy mummy daddy mother father brother sister family myfamily children grandma grandpa girlfriend
boyfriend husband wife married soulmate lady ladybug girl boy boss bigboss badass badboy badgirl goodboy goodgirl player
michael michelle jessica ashley amanda jennifer jonathan joshua matthew daniel danielle andrew anthony christopher christian
christina christine nicholas nicole william elizabeth stephanie samantha benjamin alexander alexandra alexandre alejandro
alexis victoria vanessa veronica valentina valentin sebastian santiago fernando francisco gabriel gabriela gabrielle isabella
isabel caroline carolina catherine katherine kathleen patricia patrick rebecca rachel natasha natalie melissa melanie
maxwell martin marina margaret marlboro mercedes miguel monica morgan nathan nathalie olivia oliver peanut pedro philip
phoenix rafael raymond ricardo richard robert roberto rodrigo ronald ronaldo rosemary russell sabrina sandra sarah scott
scorpion sergio shannon sharon sophie spencer stefan stephen steven stewart summer susan suzanne sydney tatiana taylor teresa
thomas tiffany timothy tyler valerie victor vincent vivian walter wesley whitney wilson winston yolanda yvonne jordan jordon
justin jasmine jackson jackie james jason jeffrey jeremy johnny joseph juliana julian juliet karina kenneth kevin kimberly
kristina kristen lauren laura leonardo lindsay lorenzo louise lucas madison maddison marcus maria mariana marie mario george
hannah harley harrison heather helena henry hunter charles charlie charlotte chelsea cheyenne chester claudia courtney crystal
cynthia david deborah denise dennis diana diamond dominic dominique donald edward eduardo emily emmanuel eric estrellita
eugene eva brandon brandy brenda brian brianna britney brittany bruno buster cameron candice carlos carmen cassandra barbara
beatriz bernard bethany bailey austin arthur antonio andrea andreas andrei alicia albert adriana adrian adam aaron abigail
# Beasts
dragon dragons monkey monkeys monkeyman tiger tigers tigger tigercat lion lions panther panthers eagle eagles falcon falcons
hawk hawks bulldog bulldogs doggy doggie dog dogs puppy puppies kitten kittens kitty kittycat cat cats catdog butterfly
butterflies dolphin dolphins elephant penguin penguins turtle turtles rabbit bunny bunnies horse horses pony ponies wolf wolves
spider shark sharks snake cobra python viper chicken rooster duck ducky ducks froggy froggie frog frogs hamster mustang
bronco broncos stallion unicorn unicorns phoenix dinosaur gorilla buffalo bear bears teddybear teddy panda pandas koala
giraffe squirrel beaver badger raven ravens cardinal cardinals oriole orioles jaguar jaguars cougar cheetah leopard bluebird
blackcat blackbird ladybird firefly dragonfly dragonball bumblebee hornet hornets rattlesnake tweety tweetybird snoopy
# Sport and play
football footballer soccer baseball basketball hockey softball volleyball tennis golf golfer cricket rugby swimming swimmer
dancer dancing dance gymnast cheer cheerleader skater skateboard surfer surfing snowboard fishing hunting running runner
cycling racing racer nascar ferrari porsche corvette camaro mustang chevrolet chevy toyota honda yamaha suzuki kawasaki
harleydavidson mercedesbenz lamborghini bugatti volkswagen nissan subaru liverpool arsenal chelsea chelseafc manchester
manutd manunited mancity everton tottenham newcastle celtic rangers barcelona realmadrid juventus milan inter bayern
benfica boca riverplate flamengo corinthians palmeiras santos galatasaray fenerbahce besiktas ajax feyenoord lakers yankees
redsox cowboys steelers packers raiders redskins dodgers giants mets cubs braves celtics bulls warriors warrior spartan
spartans trojan trojans viking vikings knight knights pirate pirates champion champions winner winners winning victory
legend legends champ maradona messi beckham zidane jordan kobe lebron michaeljordan ronaldinho cristiano neymar pele
pokemon pikachu charizard naruto sasuke goku vegeta zelda link mario luigi sonic minecraft roblox fortnite warcraft starcraft
counterstrike halo callofduty assassin assassins ninja samurai sniper soldier killer hacker gamer gaming gameover games
playboy player playgirl casino poker jackpot lucky luckyme luckyone luckystar luckycharm lottery money moneyman mymoney
cashmoney bigmoney dollar dollars million millionaire rich gold golden goldfish silver diamonds
# Stories, songs and heroes
starwars startrek skywalker lukeskywalker darthvader vader yoda jedi matrix neo batman robin spiderman superwoman supergirl
wonderwoman ironman hulk wolverine xmen avengers captain captainamerica deadpool joker harrypotter hogwarts dumbledore
hermione voldemort gandalf frodo legolas lordoftherings hobbit bilbo merlin excalibur camelot terminator predator alien
gladiator rambo rocky godfather scarface bond jamesbond simpson simpsons homer bart southpark cartman kenny spongebob
patrickstar mickey mickeymouse minnie donaldduck goofy winnie winniethepooh pooh tinkerbell cinderella bambi simba nemo
shrek garfield scooby scoobydoo tomandjerry looney bugsbunny barbie barbiegirl elvis beatles metallica nirvana slipknot
slayer ironmaiden acdc led zeppelin ledzeppelin pinkfloyd greenday linkinpark eminem tupac biggie snoopdogg rihanna beyonce
shakira madonna prince bobmarley marley rasta blink korn rammstein queen coldplay onedirection justinbieber jonas jonasbrothers
music musica musicman rock rockstar rockandroll rocknroll rocker punk punkrock metal heavymetal hiphop rapper guitar guitarist
drums drummer piano bassman trumpet violin singer dj love disney disneyland hollywood broadway
# Things, places and weather
sunshine sunset sunrise sunny sun sunflower moon moonlight moonbeam star stars starlight stardust starfish shadow shadows
darkness darkangel darkside dark midnight night nightmare twilight rainbow rainbows thunder lightning storm stormy tornado
hurricane tsunami winter spring autumn summertime snow snowball snowflake snowman icecream iceman fire fireball fireman flame
flames water waterfall river ocean island beach mountain mountains forest garden flower flowers flowerpower rose roses rosebud
daisy lily violet jasmine orchid tulip lavender purple purplerain pink pinky pinklady blue bluesky blueeyes bluemoon green
greenday greentea red redrose redhot redneck black blackjack blackbelt blackout white whitesnake yellow orange oranges
chocolate chocolat choco cookie cookies cookiemonster candy candyman candygirl cherry cherries strawberry strawberries blueberry
raspberry banana bananas apple apples pineapple mango peaches lemon lemonade coconut cupcake cupcakes cheese cheeseburger
cheesecake pancake pizza burger hamburger hotdog bacon chicken sandwich pepper pickle pickles peanutbutter peanuts butter
butterscotch marshmallow pumpkin popcorn pepsi cocacola coffee coffeecup budweiser heineken corona vodka whiskey tequila
america american usa england london paris berlin germany deutschland france francais espana italia italiano brasil brazil
portugal argentina mexico colombia venezuela canada australia sydney melbourne india indian pakistan bangladesh indonesia
jakarta malaysia singapore philippines vietnam thailand china chinese japan tokyo korea russia russian moscow ukraine poland
polska turkey turkiye istanbul israel egypt morocco algeria nigeria africa southafrica ireland irish scotland scottish
california newyork newyorkcity texas florida chicago boston dallas dakota arizona virginia georgia alabama brooklyn
losangeles lasvegas vegas hawaii alaska jamaica puertorico dominicana cuba europe school highschool college university
student students teacher teachers homework science physics chemistry history english doctor nurse lawyer engineer police
fireman marine marines army military navy airforce sergeant captain general colonel commander
# Faith, wishes and moods
jesus jesuschrist jesusislord jesuslovesme jesussaves christ christian god godisgood godislove godbless blessings
heaven heavenly church faith hope hopeful grace gracie glory trinity bible genesis prayer pray messiah savior spirit holy
holyspirit allah allahuakbar bismillah muhammad mohammed mohamed ahmed ali hussain islam muslim krishna ganesh sairam om shiva
omsairam waheguru buddha karma peace peaceful peaceandlove freedom liberty justice truth trust dream dreams dreamer dreaming
wonderful fantastic awesome amazing perfect perfection excellent happy happyday happiness happyme smile smiley smiles
laughing funny crazy crazygirl crazyboy lazy silly stupid idiot loser bitch bitches asshole fuckyou fuckme fuckoff fucker
fucking fuck shit bullshit bastard dumbass jackass pussy dick cock tits boobs sex sexsex sexual naked nude porn xxxporn
cool coolguy coolgirl coolman coolness coolio special precious treasure magic magical mystery mystic fantasy destiny
infinity eternity paradise nirvana utopia genius einstein newton galileo mozart beethoven picasso
power powerful powers strong strength bigdaddy bigdog bigboy biggie littleman littleone smallville gangster gangsta thug
thuglife pimp pimpin player ghetto westside eastside southside northside nigga homie killer killers killme death deathnote
dead zombie zombies vampire vampires demon demons devil devils satan lucifer evil hell hellfire monster monsters ghost
january february march april june july august september october november december monday tuesday wednesday thursday friday
saturday sunday birthday christmas halloween valentine newyear easter holiday holidays weekend summer today tomorrow
`,o=8,s=1024,c=4,l=40,u=6,d=3,f=new Set([`rollcall`,...a.split(`
`).filter(e=>!e.startsWith(`#`)).flatMap(e=>e.split(/\s+/)).filter(Boolean)]),p=`@4831!05$7+`,m=[`aabeiiosstt`,`aabeliosstt`].map(e=>new Map([...p].map((t,n)=>[t,e.charAt(n)]))),h=[`01234567890123456789`,`abcdefghijklmnopqrstuvwxyz`,`qwertyuiop[]asdfghjkl;'zxcvbnm,./`,`qwertzuiopasdfghjklyxcvbnm`,`azertyuiopqsdfghjklmwxcvbn`,`йцукенгшщзхъфывапролджэячсмитьбю`,`абвгдеёжзийклмнопрстуфхцчшщъыьэюя`,`1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/`,`qazwsxedcrfvtgbyhnujmikolp`,`1q2w3e4r5t6y7u8i9o0p`,`q1w2e3r4t5y6u7i8o9p0`,`147258369147258369`,`159357159357`,`a1b2c3d4e5f6g7h8i9j0`,`1a2b3c4d5e6f7g8h9i0j`,`aabbccddeeffgghh`,`112233445566778899`,`abc123abc123abc123`,`123abc123abc123abc`,`123123123123123123`,`123321123321123321`,`!@#$%^&*()_+`].flatMap(e=>[e,[...e].reverse().join(``)]),g=e=>e.normalize(`NFKC`),_=e=>e.toLowerCase().replaceAll(`ß`,`ss`).replaceAll(`ς`,`σ`),v=e=>[...e].length,y=e=>_(g(e)).replace(/[^\p{L}\p{N}]/gu,``);function b(e){let t=0;for(;t<e.length;){let n=t+d;if(n>e.length)return!1;let r=n=>e.slice(t,n).join(``),i=h.filter(e=>e.includes(r(n)));if(!i.length)return!1;for(;n<e.length&&i.some(e=>e.includes(r(n+1)));)n+=1;t=n}return!0}function x(e){let t=e.replace(/[^\p{L}\p{Nl}\p{No}]+$/u,``);return[e,e.replace(/[0-9]+$/,``),t,t.replace(/^[^\p{L}\p{Nl}\p{No}]+/u,``)].filter(t=>v(e)-v(t)<=u).some(e=>m.some(t=>f.has([...e].map(e=>t.get(e)??e).join(``).replace(/[^\p{L}\p{Nl}\p{No}]+/gu,``))))}function S(e){let t=[..._(e)],n=e=>new Set(t.filter((t,n)=>n%2===e)).size===1;return n(0)&&n(1)?!0:t.length<=l&&(b(t)||x(t.join(``)))}function C(e,{username:t=``,email:n=``,name:r=``}){let i=Math.min(v(e),v(g(e)));if(i<o)return`Too short: ${i} of at least ${o} characters.`;if(Math.max(v(e),v(g(e)))>s)return`Too long: at most ${s.toLocaleString()} characters.`;if(/\p{Cs}/u.test(e))return`Not valid Unicode: it holds half of a pair.`;if(S(g(e)))return`Too common: it is among the first that are tried.`;let a=y(e),l=[[`username`,t],[`email`,n],[`email without its domain`,n.split(`@`)[0]??``],[`name`,r]];for(let[e,t]of l)if(a===y(t)&&v(a)>=c)return`It is your ${e}.`;return null}function w(e,t){if(!e)return{level:0,says:`At least ${o} characters. A few words in a row are good.`};let n=C(e,t);if(n)return{level:1,says:n};let r=v(e);return r<12?{level:2,says:`Accepted. A longer one is safer.`}:r<16?{level:3,says:`Good.`}:{level:4,says:`Strong.`}}var T=n(),E=[`nothing typed`,`refused`,`accepted`,`good`,`strong`];function D(e){let[t,n]=(0,i.useState)(``),[a,o]=(0,i.useState)(!1),s=(0,i.useId)(),{level:c,says:l}=w(t,e.names);return(0,T.jsxs)(`div`,{className:`stack tight`,children:[(0,T.jsx)(r,{label:e.label,name:e.name,type:a?`text`:`password`,autoComplete:`new-password`,autoCapitalize:`none`,spellCheck:!1,required:!0,autoFocus:e.autoFocus,value:t,onChange:e=>n(e.target.value),problems:e.problems,hint:(0,T.jsxs)(T.Fragment,{children:[(0,T.jsx)(`span`,{className:`meter level-${c}`,role:`meter`,"aria-label":`Strength`,"aria-valuemin":0,"aria-valuemax":4,"aria-valuenow":c,"aria-valuetext":E[c],children:[1,2,3,4].map(e=>(0,T.jsx)(`span`,{className:e<=c?`on`:void 0},e))}),(0,T.jsx)(`span`,{id:s,"aria-live":`polite`,children:l})]})}),(0,T.jsx)(`button`,{type:`button`,className:`small`,"aria-pressed":a,onClick:()=>o(!a),children:a?`Hide the password`:`Show the password`})]})}export{D as t};